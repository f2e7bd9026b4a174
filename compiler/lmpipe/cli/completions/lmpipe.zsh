#compdef lmpipe
# Completion of lmpipe for zsh: source <(lmpipe completion zsh), after compinit
_lmpipe() {
    local line="${(j: :)words[1,CURRENT]}" value help
    local -a values shown open
    while IFS=$'\t' read -r value help; do
        if [[ $value == *[/:=] ]]; then
            open+=("$value")
        else
            values+=("$value")
            shown+=("$value${help:+  -- $help}")
        fi
    done < <("${words[1]}" complete-line -- "$line" 2>/dev/null)
    if (( $#values + $#open == 0 )); then
        _files
        return
    fi
    compadd -l -d shown -a values
    compadd -S '' -a open
}
if [[ $funcstack[1] == _lmpipe ]]; then
    _lmpipe "$@"
else
    compdef _lmpipe lmpipe
fi
