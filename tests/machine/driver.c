/* Runs a kernel on what standard input describes: on another processor, or under a sanitizer.
 *
 * KERNEL is its source, ROWS and SCRATCH its functions, FIELDS the addresses in Work, of which those
 * from FIRST_RESULT on are of results; the tests define them. For each case the bytes of Work, then for each of its addresses the size of the array (−1: none)
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
        const void **fields[] = {FIELDS};
        enum { COUNT = sizeof fields / sizeof *fields };
        int64_t sizes[COUNT];
        void *arrays[COUNT];
        for (int i = 0; i < COUNT; i++) {
            if (!take(&sizes[i], sizeof sizes[i])) return 1;
            arrays[i] = sizes[i] < 0 ? NULL : malloc((size_t)sizes[i]);
            if (sizes[i] > 0 && !take(arrays[i], (size_t)sizes[i])) return 1;
            *fields[i] = arrays[i];
        }
        work.scratch = malloc((size_t)SCRATCH(work.classes) * sizeof(double));
        ROWS(&work);
        free(work.scratch);
        for (int i = 0; i < COUNT; i++) {
            if (i >= FIRST_RESULT && sizes[i] > 0) fwrite(arrays[i], (size_t)sizes[i], 1, stdout);
            free(arrays[i]);
        }
    }
    return 0;
}
