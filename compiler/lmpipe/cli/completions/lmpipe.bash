# Completion of lmpipe for bash 4.4 or later: source <(lmpipe completion bash)
_lmpipe() {
    local line=${COMP_LINE:0:COMP_POINT} value help
    local word=${line##*[[:space:]]}
    # Bash replaces only what follows the last : or =, which end words for it.
    local before=${word%"${word##*[:=]}"}
    COMPREPLY=()
    while IFS=$'\t' read -r value help; do
        COMPREPLY+=("${value#"$before"}")
    done < <("$1" complete-line -- "$line" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[/:=] ]]; then
        compopt -o nospace
    fi
}
complete -o default -F _lmpipe lmpipe
