import { type Command, Option } from 'commander'
import type { DefinitionType } from '../../src/definition/definition.ts'
import { renderStanzas } from '../../src/definition/stanza.ts'
import { definitionOf } from './definition-files.ts'
import type { Needs } from './needs.ts'
import { type ObjectOptions, objectCommand, readWords, usage, whereOf, whereOption } from './objects.ts'

type Options = Omit<ObjectOptions, 'z'> & { i?: string; l?: boolean; z?: boolean }
type Shown = { name: string; attrs: Record<string, string> }

/** `lsdef` lists the names; with names, `-w`, `-i` or `-l` the attributes, as xCAT writes them. */
export function lsdef(program: Command, { api, print }: Needs) {
  const description = 'show nodes, groups, osimages or networks; without names all of them'
  objectCommand(program, 'lsdef', ['node', 'group', 'osimage', 'network'], description)
    .usage('[options] [-t TYPE] [-o] [NAMES]')
    .option('-i <attrs>', 'only these attributes, with commas between')
    .option('-l', 'all attributes of all objects')
    .addOption(whereOption())
    .addOption(new Option('-z', 'as a stanza file, which mkdef -z reads').conflicts(['json', 'i']))
    .action(async (words: string[], options: Options, command: Command) => {
      const { objects: names, attrs } = readWords(words, options, command)
      if (Object.keys(attrs).length > 0) usage(command, 'attr=value has no meaning here')
      if (options.t === 'network' && (options.z || options.w))
        usage(command, '-z and -w are not for networks')
      const where = whereOf(options)
      const onlyNames =
        names === undefined && where === undefined && !options.i && !options.l && !options.json && !options.z
      const query = { objects: names, attrs: onlyNames ? '' : options.i, where }
      const { objects } = await api(options.server).get(`/${options.t}s`, query)
      if (options.json) print.json(Object.fromEntries(objects.map((each: Shown) => [each.name, each.attrs])))
      else if (options.z) print.raw(stanzas(options.t as DefinitionType, objects))
      else if (onlyNames) print.line(objects.map(({ name }: Shown) => `${name}  (${options.t})`))
      else print.line(objects.flatMap(linesOf))
    })

  const stanzas = (type: DefinitionType, objects: Shown[]) =>
    renderStanzas(objects.map((each) => definitionOf(type, each)))
}

const linesOf = ({ name, attrs }: Shown) => [
  `Object name: ${name}`,
  ...Object.keys(attrs)
    .sort()
    .map((attribute) => `    ${attribute}=${attrs[attribute]}`),
]
