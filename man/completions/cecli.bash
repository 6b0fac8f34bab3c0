# Bash completion for cecli: asks the program itself what fits at the cursor.
# Needs bash 4 or newer, and nothing else.

_cecli() {
    local IFS=$' \t\n'
    # Bash also splits the line at = and : (COMP_WORDBREAKS); the program wants words as it will
    # receive them. Pieces with no blank between them belong together; the last ends at the cursor.
    local line=${COMP_LINE:0:COMP_POINT} words=() piece trimmed
    for piece in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
        trimmed=${line#"${line%%[![:space:]]*}"}
        if ((${#words[@]})) && [[ $line == "$trimmed" ]]; then
            words[${#words[@]} - 1]+=${piece:0:${#trimmed}}
        else
            words+=("${piece:0:${#trimmed}}")
        fi
        line=${trimmed:${#piece}}
    done
    local last=$((${#words[@]} - 1))
    # The program answers --name=value with the value alone, and bash replaces no more of it than
    # what follows the last = or :, so what stands before is taken off the answers.
    local current=${words[last]}
    [[ $current == -*=* ]] && current=${current#*=}
    local before=${current%"${current##*[=:]}"}

    COMPREPLY=()
    local type value
    while IFS=, read -r type value; do
        case $type in
            plain)
                value=${value#"$before"}
                [[ $current == [\"\']* ]] || printf -v value %q "$value"
                COMPREPLY+=("$value")
                ;;
            file) compopt -o default ;;
            dir) compopt -o dirnames ;;
        esac
    done < <(
        env _CECLI_COMPLETE=bash_complete COMP_WORDS="${words[*]}" COMP_CWORD="$last" \
            "${1/#\~/$HOME}" 2>/dev/null
    )
}

complete -F _cecli cecli
