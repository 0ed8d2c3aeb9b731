// Machines that nobody defined and that wait to be adopted, in networks with `discovery: hold`. Each has a code on its
// screen, which the admin types; being looked at changes nothing. Bounded: made-up machines push no waiting one out.
import type { Ipv4, Mac, NodeName } from '../address.ts'
import type { NodeIndex } from './names.ts'
import type { BootNode, BootPlan } from './plan.ts'

export type Stranger = {
  mac: Mac
  code: string // six digits
  machine?: string // 'uefi x86_64', as its DHCP says
  address?: Ipv4
  server: Ipv4 // ours, in its network
  uuid?: string
  serial?: string
  secureBoot?: true // its signed GRUB says so
  firstSeen: number // ms since 1970
  lastSeen: number
}
/** What is learnt of a machine when it asks. */
export type Sighting = Pick<Stranger, 'mac' | 'server' | 'machine' | 'address' | 'uuid'>

const usual = {
  count: 256,
  /** Of machines that only spoke DHCP so many take the place of another one within a second: more are made up. */
  perSecond: 20,
  /** A screen asks again every half minute, and a machine that resets is back in minutes. */
  quietMs: 30 * 60_000,
  /** So long it may be quiet before another may have its place. */
  yieldMs: 5 * 60_000,
}
const DIGITS = 6
const TRIES = 200

/** @param random a number from 0 up to `below`, that nobody can foretell */
export function makeStrangers(random: (below: number) => number, limits = usual) {
  const byMac = new Map<Mac, Stranger>() // the one that was quiet longest is first
  /** Those whose loader has asked: they have an address, and their code stands on a screen. Others can be made up. */
  const shown = new Set<Mac>()
  const replaced = { since: 0, count: 0 }
  let latest = 0

  /**
   * The stranger, or undefined when there is no place for one more; `isNew` when it was not waiting before. `isShown`: its
   * loader asks, from its own address.
   */
  function heard(
    sighting: Sighting,
    now: number,
    isShown = false,
  ): { stranger: Stranger; isNew: boolean } | undefined {
    forgetQuiet(now)
    const before = byMac.get(sighting.mac)
    if (!before && !hasPlace(now, isShown)) return undefined
    if (isShown) shown.add(sighting.mac)
    const code = before?.code ?? newCode()
    if (code === undefined) return undefined
    const stranger = { firstSeen: now, ...before, ...withoutUndefined(sighting), code, lastSeen: now }
    put(stranger)
    return { stranger, isNew: !before }
  }

  /** It says so itself, on its way to the next look at us. */
  function named(
    mac: Mac,
    { serial = '', secureBoot }: Pick<Stranger, 'serial' | 'secureBoot'>,
    now: number,
  ) {
    const before = byMac.get(mac)
    if (!before) return
    const said = { ...(serial !== '' && { serial: serial.slice(0, 64) }), ...(secureBoot && { secureBoot }) }
    put({ ...before, ...said, lastSeen: now })
  }

  function put(stranger: Stranger) {
    byMac.delete(stranger.mac)
    byMac.set(stranger.mac, stranger)
  }

  function forgetQuiet(now: number) {
    noteClock(now)
    for (const [mac, { lastSeen }] of byMac) {
      if (now - lastSeen <= limits.quietMs) return
      forget(mac)
    }
  }

  /** It may be set back: nobody was heard in the future. */
  function noteClock(now: number) {
    if (now < latest)
      for (const [mac, stranger] of byMac)
        byMac.set(mac, { ...stranger, lastSeen: Math.min(stranger.lastSeen, now) })
    latest = now
  }

  /** Who has no screen yet loses nothing when it gives way: it gets a place again when its loader asks. */
  function hasPlace(now: number, isShown: boolean): boolean {
    if (byMac.size < limits.count) return true
    const [first] = byMac
    if (first && now - first[1].lastSeen >= limits.yieldMs) return forget(first[0])
    if (!isShown && !mayReplace(now)) return false
    for (const mac of byMac.keys()) if (!shown.has(mac)) return forget(mac)
    return false
  }

  function mayReplace(now: number): boolean {
    const isSame = now >= replaced.since && now < replaced.since + 1000
    if (!isSame) Object.assign(replaced, { since: now, count: 0 })
    return replaced.count++ < limits.perSecond
  }

  function forget(mac: Mac): boolean {
    shown.delete(mac)
    return byMac.delete(mac)
  }

  /** One digit typed wrongly must not adopt another machine: codes differ in two places at least. */
  function newCode(): string | undefined {
    const taken = [...byMac.values()].map(({ code }) => code)
    for (let tries = 0; tries < TRIES; tries++) {
      const code = String(random(10 ** DIGITS)).padStart(DIGITS, '0')
      if (taken.every((other) => distance(code, other) >= 2)) return code
    }
    return undefined
  }

  return {
    heard,
    named,
    get: (mac: Mac): Stranger | undefined => byMac.get(mac),
    forget,
    /** Those that wait, the first one first. */
    list(now: number): Stranger[] {
      forgetQuiet(now)
      return [...byMac.values()].sort((a, b) => a.firstSeen - b.firstSeen)
    },
  }
}
export type Strangers = ReturnType<typeof makeStrangers>

const distance = (a: string, b: string): number => [...a].filter((digit, i) => digit !== b[i]).length

const withoutUndefined = <T extends object>(fields: T): T =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T

/** A stranger in a node's place: the policy and every renderer take it as one that waits. */
export const strangerNode = (mac: Mac, stranger?: Stranger): BootNode => ({
  name: 'unknown' as NodeName,
  mac: [mac],
  kernelArgs: [],
  stranger: stranger ?? {},
})

/** The nodes, and those who wait beside them; a node is never hidden. */
export function besideNodes(index: NodeIndex, waiting: (mac: Mac) => BootNode | undefined): NodeIndex {
  const get = (mac: Mac) => index.byMac.get(mac) ?? waiting(mac)
  return { ...index, byMac: { get, has: (mac) => get(mac) !== undefined } }
}

/** What stands on its screen; its loader adds the serial number, which it knows first. */
export function strangerPlan({ mac, stranger }: BootNode): BootPlan {
  const { code, uuid } = stranger ?? {}
  return {
    kind: 'hold',
    title: `${mac[0]}: not known here`,
    lines: [
      'This machine is not known to the server. Its disks are not touched.',
      `  MAC     ${mac[0]}`,
      ...(uuid ? [`  UUID    ${uuid}`] : []),
      ...(code ? [`  code    ${code}`, 'The server takes it in with:', `  sysclone adopt ${code} NAME`] : []),
    ],
    asksOn: mac[0]!,
  }
}

/** The machine that a loader's name is about, and what it says of itself: names end in MAC, MAC/serial/SERIAL or
 * MAC/secure/serial/SERIAL. */
export function strangerIn(
  name: string,
): ({ mac: Mac } & Pick<Stranger, 'serial' | 'secureBoot'>) | undefined {
  const form = /(?:^|[/.-])(?:01-)?((?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2})(\/secure)?(?:\/serial\/?(.*))?$/i
  const [, pairs, secure, serial] = form.exec(name) ?? []
  if (pairs === undefined) return undefined
  const mac = pairs.toLowerCase().replaceAll('-', ':') as Mac
  return {
    mac,
    ...(serial !== undefined && { serial: serial.trim() }),
    ...(secure !== undefined && { secureBoot: true as const }),
  }
}

/** RFC 4578 2.3: a type of 0 and 16 bytes, the first three groups in little-endian order, as SMBIOS has them. */
export function uuidText(option: Uint8Array | undefined): string | undefined {
  if (option?.length !== 17 || option[0] !== 0) return undefined
  const order = [4, 3, 2, 1, 6, 5, 8, 7, 9, 10, 11, 12, 13, 14, 15, 16]
  const hex = order.map((at) => option[at]!.toString(16).padStart(2, '0')).join('')
  const text = hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
  return junkUuids.some((junk) => junk.test(text)) ? undefined : text
}

/** Boards whose maker never set it. */
const junkUuids = [
  /^[0-]*$/,
  /^[f-]*$/,
  /^03000200-0400-0500-0006-000700080009$/,
  /^00020003-0004-0005-0006-000700080009$/,
]

/** A serial number that is one: many boards have a maker's placeholder. */
export const isSerial = (serial: string): boolean =>
  /^[!-~]([ -~]{0,62}[!-~])?$/.test(serial) &&
  !/^(0+|none|n\/a|not (specified|applicable|available)|default string|to be filled by o\.?e\.?m\.?|system serial number|serial|x+|123456789\d*|empty|unknown|invalid)$/i.test(
    serial,
  )
