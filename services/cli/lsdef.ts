import type { Command } from 'commander'
import type { Needs } from './needs.ts'
import { type ObjectOptions, objectCommand, readWords, usage } from './objects.ts'

type Options = ObjectOptions & { i?: string; l?: boolean }
type Shown = { name: string; attrs: Record<string, string> }

/** `lsdef` lists the names; with names, `-i` or `-l` the attributes, as xCAT writes them. */
export function lsdef(program: Command, { api, print }: Needs) {
  const description = 'show nodes, osimages or networks; without names all of them'
  objectCommand(program, 'lsdef', ['node', 'osimage', 'network'], description)
    .usage('[options] [-t TYPE] [-o] [NAMES]')
    .option('-i <attrs>', 'only these attributes, with commas between')
    .option('-l', 'all attributes of all objects')
    .action(async (words: string[], options: Options, command: Command) => {
      const { objects: names, attrs } = readWords(words, options, command)
      if (Object.keys(attrs).length > 0) usage(command, 'attr=value has no meaning here')
      const onlyNames = names === undefined && options.i === undefined && !options.l && !options.json
      const query = { objects: names, attrs: onlyNames ? '' : options.i }
      const { objects } = await api(options.server).get(`/${options.t}s`, query)
      if (options.json) print.json(Object.fromEntries(objects.map((each: Shown) => [each.name, each.attrs])))
      else if (onlyNames) for (const { name } of objects) print.line(`${name}  (${options.t})`)
      else for (const each of objects) printObject(each)
    })

  function printObject({ name, attrs }: Shown) {
    print.line(`Object name: ${name}`)
    for (const attribute of Object.keys(attrs).sort()) print.line(`    ${attribute}=${attrs[attribute]}`)
  }
}
