/* Runs the kernel on what standard input describes: on another processor, or under a sanitizer.
 *
 * For each case the bytes of Work, then for each of its addresses the size of the array (−1: none)
 * and the array itself. Each array has memory of its own, so that reading or writing beside it
 * shows. On standard output: the arrays of results, one after another.
 */

#include KERNEL

#include <stdio.h>
#include <stdlib.h>

static int take(void *to, size_t size) { return size == 0 || fread(to, size, 1, stdin) == 1; }

int main(void) {
    Work work;
    while (fread(&work, sizeof work, 1, stdin) == 1) {
        const void **fields[] = {
            (const void **)&work.logits,   (const void **)&work.kept,
            (const void **)&work.column,   (const void **)&work.soft,
            (const void **)&work.weight,   (const void **)&work.base,
            (const void **)&work.out,      (const void **)&work.losses,
            (const void **)&work.z_losses, (const void **)&work.plain,
            (const void **)&work.log_sum_exp, (const void **)&work.flags,
        };
        enum { FIELDS = sizeof fields / sizeof *fields, FIRST_RESULT = 6 };
        int64_t sizes[FIELDS];
        void *arrays[FIELDS];
        for (int i = 0; i < FIELDS; i++) {
            if (!take(&sizes[i], sizeof sizes[i])) return 1;
            arrays[i] = sizes[i] < 0 ? NULL : malloc((size_t)sizes[i]);
            if (sizes[i] > 0 && !take(arrays[i], (size_t)sizes[i])) return 1;
            *fields[i] = arrays[i];
        }
        work.scratch = malloc((size_t)JOIN(cecli_scratch_, LEVEL)(work.classes) * sizeof(double));
        JOIN(cecli_rows_, LEVEL)(&work);
        free(work.scratch);
        for (int i = 0; i < FIELDS; i++) {
            if (i >= FIRST_RESULT && sizes[i] > 0) fwrite(arrays[i], (size_t)sizes[i], 1, stdout);
            free(arrays[i]);
        }
    }
    return 0;
}
