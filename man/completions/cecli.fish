# Fish completion for cecli: asks the program itself what fits at the cursor.

function __cecli_complete
    set -l program (string replace --regex '^~' $HOME (commandline -opc)[1])
    set -l current (commandline -ct)
    # The program answers --name=value with the value alone; fish wants the whole word.
    set -l before (string match --regex '^--[^=]+=' -- $current; or echo '')
    set -l value (string sub --start (math (string length -- $before) + 1) -- $current)

    for answer in (env _CECLI_COMPLETE=fish_complete COMP_WORDS=(commandline -cp | string collect) \
            COMP_CWORD=$current $program 2>/dev/null)
        set -l part (string split --max 1 , -- $answer)
        switch $part[1]
            case plain
                echo -- $before$part[2]
            case file
                # Fish's own file completion, on a command line that holds the value alone.
                for name in (complete --do-complete "'' $value")
                    echo -- $before$name
                end
            case dir
                for name in (__fish_complete_directories $value)
                    echo -- $before$name
                end
        end
    end
end

complete --command cecli --no-files --arguments '(__cecli_complete)'
