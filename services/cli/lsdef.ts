import { type Command, Option } from 'commander'
import { wordsOf } from '../../src/attribute.ts'
import type { DefinitionType } from '../../src/definition/definition.ts'
import { renderStanzas } from '../../src/definition/stanza.ts'
import { definitionOf } from './definition-files.ts'
import type { Needs } from './needs.ts'
import { type ObjectOptions, objectCommand, readWords, usage, whereOf, whereOption } from './objects.ts'
import { tableOf } from './table.ts'

type Options = Omit<ObjectOptions, 'z'> & {
  i?: string
  l?: boolean
  s?: boolean
  c?: boolean
  table?: boolean
  z?: boolean
}
type Shown = { name: string; attrs: Record<string, string> }

/** The columns of a table for which nobody asked for others. */
const columns: Record<string, string> = {
  node: 'ip,mac,groups,osimage,currstate,status',
  group: 'osimage,priority,where,members',
  osimage: 'provmethod,version,osdistroname,profile',
  network: 'net,mask,mgtifname,dhcpserver,dynamicrange',
}

/** `lsdef` lists the names; with names, `-w`, `-i` or `-l` the attributes, as xCAT writes them. */
export function lsdef(program: Command, { api, print }: Needs) {
  const description = 'show nodes, groups, osimages or networks; without names all of them'
  objectCommand(program, 'lsdef', ['node', 'group', 'osimage', 'network'], description)
    .usage('[options] [-t TYPE] [-o] [NAMES]')
    .option('-i <attrs>', 'only these attributes, with commas between')
    .option('-l', 'all attributes of all objects')
    .addOption(new Option('-s', 'only the names').conflicts(['i', 'l']))
    .addOption(new Option('-c', 'NAME: attr=value, each line by itself').conflicts(['s', 'json']))
    .addOption(
      new Option(
        '--table',
        'a line an object; what a terminal has no room for is cut, and marked with ~',
      ).conflicts(['s', 'c', 'json']),
    )
    .addOption(whereOption())
    .addOption(
      new Option('-z', 'as a stanza file, which mkdef -z reads').conflicts(['json', 'i', 's', 'c', 'table']),
    )
    .action(async (words: string[], options: Options, command: Command) => {
      const { objects: names, attrs } = readWords(words, options, command)
      if (Object.keys(attrs).length > 0) usage(command, 'attr=value has no meaning here')
      if (options.t === 'network' && (options.z || options.w))
        usage(command, '-z and -w are not for networks')
      const where = whereOf(options)
      const { i, l, json, z, c, table } = options
      const onlyNames =
        options.s || (names === undefined && where === undefined && !i && !l && !json && !z && !c && !table)
      const asked = onlyNames ? '' : (i ?? (table ? columns[options.t] : undefined))
      const { objects } = await api(options.server).get(`/${options.t}s`, {
        objects: names,
        attrs: asked,
        where,
      })
      if (json) print.json(Object.fromEntries(objects.map((each: Shown) => [each.name, each.attrs])))
      else if (z) print.raw(stanzas(options.t as DefinitionType, objects))
      else if (onlyNames) print.line(objects.map(({ name }: Shown) => `${name}  (${options.t})`))
      else if (table) print.line(tableLines(options.t, asked!, objects))
      else print.line(objects.flatMap(c ? compressed : linesOf))
    })

  const stanzas = (type: DefinitionType, objects: Shown[]) =>
    renderStanzas(objects.map((each) => definitionOf(type, each)))

  function tableLines(type: string, asked: string, objects: Shown[]): string[] {
    const names = wordsOf(asked)
    const rows = objects.map(({ name, attrs }) => [name, ...names.map((each) => attrs[each] ?? '')])
    return tableOf(
      print,
      [type, ...names].map((each) => each.toUpperCase()),
      rows,
    )
  }
}

const textsOf = ({ attrs }: Shown) =>
  Object.keys(attrs)
    .sort()
    .map((attribute) => `${attribute}=${attrs[attribute]}`)
const linesOf = (shown: Shown) => [
  `Object name: ${shown.name}`,
  ...textsOf(shown).map((text) => `    ${text}`),
]
const compressed = (shown: Shown) => textsOf(shown).map((text) => `${shown.name}: ${text}`)
