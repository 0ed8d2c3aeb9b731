import { Argument, type Command } from 'commander'
import { attributeTables } from './definition-files.ts'
import type { Needs } from './needs.ts'

/** `completion bash`: a script that knows every command of `program`. */
export function completion(program: Command, { print }: Needs) {
  program
    .command('completion')
    .description('print a completion script: . <(sysclone completion bash)')
    .addArgument(new Argument('<shell>').choices(['bash']))
    .action(() => print.raw(bashScript(program.commands)))
}

function bashScript(commands: readonly Command[]): string {
  const names = commands.map((command) => command.name())
  const options = commands.map((command) => {
    const words = command.options.flatMap(({ short, long }) => [short, long]).filter(Boolean)
    return `        ${command.name()}) echo "${words.join(' ')} --help" ;;`
  })
  const types = commands.flatMap((command) => {
    const choices = command.options.find(({ short }) => short === '-t')?.argChoices
    return choices ? [`        ${command.name()}) echo "${choices.join(' ')}" ;;`] : []
  })
  const attributes = Object.entries(attributeTables).map(
    ([type, table]) => `        ${type}) echo "${Object.keys(table).join(' ')}" ;;`,
  )
  return SCRIPT.replace('@COMMANDS@', names.join(' '))
    .replaceAll('@LINKS@', names.filter((name) => !shellWords.includes(name)).join(' '))
    .replace('@OPTIONS@', options.join('\n'))
    .replace('@TYPES@', types.join('\n'))
    .replace('@ATTRIBUTES@', attributes.join('\n'))
}

/** Names that mean something else on their own: `export` is bash's, `import` ImageMagick's. */
const shellWords = ['export', 'import', 'serve', 'lab', 'completion', 'audit', 'bootfiles', 'jobs', 'key']

// Names come from the server, which may be away: five seconds are waited for it, and then there are none.
const SCRIPT = `# bash completion for sysclone: . <(sysclone completion bash)
_sysclone_options() {
    case $1 in
@OPTIONS@
    esac
}
_sysclone_types() {
    case $1 in
@TYPES@
    esac
}
_sysclone_attributes() {
    case $1 in
@ATTRIBUTES@
    esac
}
_sysclone_names() {
    timeout 5 sysclone lsdef -t "$1" 2>/dev/null </dev/null | sed 's/  (.*//'
}
_sysclone_images() {
    local name
    timeout 5 sysclone lsimage 2>/dev/null </dev/null | while read -r name _; do
        case $name in *:*) echo "$name \${name%%:*}" ;; esac
    done
}
_sysclone_offer() { # the last piece of a list: what stands before its last comma stays
    local before=""
    case $cur in *,*) before="\${cur%,*}," ;; esac
    mapfile -t COMPREPLY < <(compgen -P "$before" -W "$1" -- "\${cur##*,}")
}
_sysclone() {
    local cur=\${COMP_WORDS[COMP_CWORD]} prev="" command=\${COMP_WORDS[0]##*/} type=node at=1 i
    [ "$COMP_CWORD" -gt 0 ] && prev=\${COMP_WORDS[COMP_CWORD-1]}
    COMPREPLY=()
    if [ "$command" = sysclone ]; then
        if [ "$COMP_CWORD" -eq 1 ]; then _sysclone_offer "@COMMANDS@"; return; fi
        command=\${COMP_WORDS[1]}
        at=2
    fi
    for ((i = at; i < COMP_CWORD; i++)); do
        [ "\${COMP_WORDS[i]}" = -t ] && [ $((i + 1)) -lt "$COMP_CWORD" ] && type=\${COMP_WORDS[i+1]}
    done
    [ "$command" = imgcapture ] && type=node # its -t is the kind of image
    # bash takes "attr=value" for three words.
    if [ "$cur" = "=" ] || [ "$prev" = "=" ]; then
        local attribute=$prev
        if [ "$prev" = "=" ]; then attribute=\${COMP_WORDS[COMP_CWORD-2]}; else cur=""; fi
        case $attribute in
            osimage) _sysclone_offer "$(_sysclone_names osimage)" ;;
            groups) _sysclone_offer "$(_sysclone_names group)" ;;
            members) _sysclone_offer "$(_sysclone_names node)" ;;
        esac
        return
    fi
    case $prev in
        -t) _sysclone_offer "$(_sysclone_types "$command")"; return ;;
        -z|--config|--server|--identity|--layout) compopt -o default; return ;;
        -i) _sysclone_offer "$(_sysclone_attributes "$type")"; return ;;
        -o)
            [ "$command" = imgcapture ] && type=osimage
            [ "$command" = mkdef ] && return
            _sysclone_offer "$(_sysclone_names "$type")"
            return ;;
    esac
    case $cur in -*) _sysclone_offer "$(_sysclone_options "$command")"; return ;; esac
    case $command in
        nodeset)
            if [ "$COMP_CWORD" -gt "$at" ]; then
                _sysclone_offer "osimage= boot offline stat"
                compopt -o nospace
            else
                _sysclone_offer "$(_sysclone_names node) $(_sysclone_names group)"
            fi ;;
        mkdef|chdef)
            if [ "$COMP_CWORD" -eq "$at" ] && [ "$command" = chdef ]; then
                _sysclone_offer "$(_sysclone_names "$type")"
            else
                local words
                words=$(_sysclone_attributes "$type")
                mapfile -t COMPREPLY < <(compgen -S = -W "$words" -- "$cur")
                compopt -o nospace
            fi ;;
        lsdef|rmdef|noderange|imgcapture) _sysclone_offer "$(_sysclone_names "$type")" ;;
        lsimage|rmimage|cpimage|diff|fsck|cat|squash|imgexport) _sysclone_offer "$(_sysclone_images)" ;;
        completion) _sysclone_offer bash ;;
        import|imgimport) compopt -o default ;;
    esac
}
complete -F _sysclone sysclone @LINKS@
`
