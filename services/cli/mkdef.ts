import type { Command } from 'commander'
import type { Needs } from './needs.ts'
import {
  attributeHelp,
  needNames,
  type ObjectOptions,
  objectCommand,
  printCount,
  readSecrets,
  readWords,
  refuseNetworks,
  stanzaOption,
  usage,
  whereOf,
  whereOption,
  writeStanzas,
} from './objects.ts'

type Options = ObjectOptions & { d?: boolean }

/** `mkdef -t node -o n[1-3] groups=compute`: all of them or none. */
export function mkdef(program: Command, needs: Needs) {
  const description = 'define nodes, groups or osimages: mkdef -o n[1-3] groups=compute'
  objectCommand(program, 'mkdef', ['node', 'group', 'osimage', 'network'], description)
    .addHelpText('after', attributeHelp)
    .option('-d', 'a dynamic group, of those nodes that -w selects; the same as where=')
    .addOption(whereOption('who is in it: attr==value, !=, =~ or !~ a pattern; may be repeated'))
    .addOption(stanzaOption())
    .action(async (words: string[], options: Options, command: Command) => {
      await refuseNetworks(needs, options, words)
      const named = readWords(words, options, command)
      const make = async () => {
        if (options.z === undefined)
          return (await needs.api(options.server).post(`/${options.t}s`, await bodyOf())).objects
        if (words.length > 0) usage(command, 'with -z, names and attributes are in the file')
        return writeStanzas(needs, options, 'make')
      }
      printCount(needs, await make(), 'created or modified', options)

      async function bodyOf() {
        const objects = needNames(named, command)
        const { attrs } = await readSecrets(named, options, command)
        return { objects, attrs: { ...attrs, ...dynamic() } }
      }
      function dynamic(): { where?: string } {
        const where = whereOf(options)
        if (options.d && options.t !== 'group') usage(command, '-d is for -t group')
        if (options.d && where === undefined) usage(command, '-d needs -w attr==value')
        if (!options.d && where !== undefined) usage(command, '-w needs -t group -d')
        return where === undefined ? {} : { where }
      }
    })
}
