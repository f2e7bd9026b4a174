# Completion of lmpipe for fish: lmpipe completion fish | source
function __lmpipe_complete
    set -l words (commandline -opc)
    set -l found (command $words[1] complete-line -- (commandline -cp | string collect) 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete --command lmpipe --no-files --arguments '(__lmpipe_complete)'
