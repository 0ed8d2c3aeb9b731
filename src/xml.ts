// A small reader of XML: elements, attributes, text, comments, CDATA. It declares and expands no entities, so a file can
// not grow while it is read. Faults name the line.
import { UserError } from './fault.ts'

export type Element = {
  name: string
  line: number
  text: string
  children: Element[]
  attributes: ReadonlyMap<string, string>
}

const limits = { bytes: 16 << 20, depth: 16, elements: 500_000 }
const named: Record<string, string> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" }

// One row per kind of markup, tried in this order at each `<`.
const comment = /<!--[\s\S]*?-->/y
const cdata = /<!\[CDATA\[([\s\S]*?)\]\]>/y
const instruction = /<\?[\s\S]*?\?>/y
const doctype = /<!DOCTYPE[^[<>]*>/y
const closing = /<\/([A-Za-z_][\w.-]*)\s*>/y
const attribute = /([\w:.-]+)\s*=\s*(?:"([^"<]*)"|'([^'<]*)')/g
const opening = /<([A-Za-z_][\w.-]*)((?:\s+[\w:.-]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*)\s*(\/?)>/y

/** The root element. `file` is for the faults alone. */
export function parseXml(text: string, file: string): Element {
  if (text.length > limits.bytes)
    throw new UserError('too large', { what: `${text.length} bytes`, object: file })
  const top: Element = { name: '', line: 0, text: '', children: [], attributes: new Map() }
  const open = [top]
  let at = 0
  let line = 1
  let nextBreak = text.indexOf('\n')
  let count = 0

  while (at < text.length) {
    const next = text.indexOf('<', at)
    const end = next < 0 ? text.length : next
    if (end > at) addText(plainText(text.slice(at, end)))
    pass(end)
    if (at < text.length) readMarkup()
  }
  if (open.length > 1) throw fault(`<${open.at(-1)!.name}> is not closed`, open.at(-1)!.line)
  const [root, second] = top.children
  if (!root || second) throw fault(root ? 'more than one root element' : 'no element', second?.line ?? line)
  return root

  function readMarkup() {
    const piece = match(comment) ?? match(instruction) ?? match(doctype)
    if (piece) return pass(at + piece[0].length)
    const verbatim = match(cdata)
    if (verbatim) {
      addText(verbatim[1]!)
      return pass(at + verbatim[0].length)
    }
    const close = match(closing)
    if (close) return closeElement(close)
    const start = match(opening)
    if (!start) throw fault('not XML, or a declaration that is not read', line, text.slice(at, at + 40))
    openElement(start)
  }

  function openElement([all, name = '', inside = '', isEmpty]: RegExpExecArray) {
    count += 1
    if (count > limits.elements) throw fault(`more than ${limits.elements} elements`, line)
    if (open.length > limits.depth) throw fault(`deeper than ${limits.depth} elements`, line)
    const element: Element = { name, line, text: '', children: [], attributes: attributesIn(inside) }
    open.at(-1)!.children.push(element)
    if (!isEmpty) open.push(element)
    pass(at + all.length)
  }

  function attributesIn(inside: string): Map<string, string> {
    const found = new Map<string, string>()
    for (const [all, key = '', double, single = ''] of inside.matchAll(attribute)) {
      if (found.has(key)) throw fault(`attribute ${key} twice`, line, all)
      found.set(key, plainText(double ?? single))
    }
    return found
  }

  function closeElement([all, name]: RegExpExecArray) {
    const element = open.at(-1)!
    if (open.length === 1 || element.name !== name) throw fault('closes what is not open', line, all)
    open.pop()
    pass(at + all.length)
  }

  function addText(more: string) {
    const element = open.at(-1)!
    if (element === top && more.trim() !== '')
      throw fault('text outside the root element', lineOf(more.search(/\S/)), more.trim())
    element.text += more
  }

  function plainText(raw: string): string {
    return raw.replace(/&([^;\s]{0,12};?)/g, (all, entity: string, offset: number) => {
      const name = entity.slice(0, -1)
      const code = /^#(?:x([0-9a-fA-F]{1,6})|(\d{1,7}))$/.exec(name)
      const point = code ? Number.parseInt(code[1] ?? code[2]!, code[1] ? 16 : 10) : 0
      const known = Object.hasOwn(named, name) ? named[name] : undefined
      const character = point > 0 && point <= 0x10ffff ? String.fromCodePoint(point) : known
      if (!entity.endsWith(';') || character === undefined)
        throw fault('not a known entity', lineOf(offset), all)
      return character
    })
  }

  /** The line of what stands `offset` characters on. */
  function lineOf(offset: number): number {
    return line + text.slice(at, at + offset).split('\n').length - 1
  }

  function match(form: RegExp): RegExpExecArray | undefined {
    form.lastIndex = at
    return form.exec(text) ?? undefined
  }

  function pass(to: number) {
    for (; nextBreak >= 0 && nextBreak < to; nextBreak = text.indexOf('\n', nextBreak + 1)) line += 1
    at = to
  }

  function fault(error: string, where: number, what = ''): UserError {
    return new UserError(error, { what: what.slice(0, 60), object: `${file}:${where}` })
  }
}
