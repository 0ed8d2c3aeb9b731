// What the ramdisk and the server say to each other (HTTP, JSON bodies). Every request may be repeated: a nonce or a
// sequence number makes it idempotent.
//   POST /node/start     Start      -> text/x-shellscript: the autoinstall script, or one that only shows a refusal
//   POST /node/progress  Progress   -> 204
//   POST /node/log       Log        -> 204
//   POST /node/finish    Finish     -> 204
//   GET  /node/time      -> seconds since 1970, as text
// Errors: 4xx with {error, what, allowed?}; 503 with Retry-After while the server restarts.

import type { Static } from 'typebox'
import { Type } from 'typebox'

const word = Type.String({ minLength: 1, maxLength: 200 })

/** A disk that the ramdisk sees. `kernelName` is 'sda', 'nvme0n1'. */
export const DiskFacts = Type.Object({
  path: word, // '/dev/sda'
  bytes: Type.Integer({ minimum: 0 }),
  sectorBytes: Type.Integer({ minimum: 1 }),
  removable: Type.Boolean(),
  readOnly: Type.Boolean(),
  transport: Type.Optional(Type.String({ maxLength: 40 })), // 'sata', 'nvme', 'usb', 'virtio'
  model: Type.Optional(Type.String({ maxLength: 200 })),
  serial: Type.Optional(Type.String({ maxLength: 200 })),
  wwn: Type.Optional(Type.String({ maxLength: 200 })),
  links: Type.Array(Type.String({ maxLength: 300 }), { maxItems: 100 }), // /dev/disk/by-id/... names
})
export const NodeFacts = Type.Object({
  firmware: Type.Union([Type.Literal('bios'), Type.Literal('uefi')]),
  secureBoot: Type.Boolean(),
  arch: Type.String({ maxLength: 20 }), // uname -m
  memoryKb: Type.Integer({ minimum: 0 }),
  disks: Type.Array(DiskFacts, { maxItems: 4096 }),
  nics: Type.Array(Type.Object({ name: word, mac: word, up: Type.Boolean() }), { maxItems: 256 }),
})
export const Start = Type.Object({
  token: Type.String({ pattern: '^[0-9a-f]{64}$' }), // sysclone.token= of the kernel command line
  nonce: Type.String({ pattern: '^[0-9a-f]{32}$' }), // made once per boot of the ramdisk
  facts: NodeFacts,
})
export const Progress = Type.Object({
  session: word,
  seq: Type.Integer({ minimum: 1 }),
  phase: Type.String({ minLength: 1, maxLength: 40 }),
  percent: Type.Integer({ minimum: 0, maximum: 100 }), // of the whole install
  bytes: Type.Integer({ minimum: 0 }), // unpacked so far
  text: Type.Optional(Type.String({ maxLength: 400 })),
})
export const Log = Type.Object({
  session: word,
  seq: Type.Integer({ minimum: 1 }),
  text: Type.String({ maxLength: 65536 }),
})
export const Finish = Type.Object({
  session: word,
  result: Type.Union([Type.Literal('ok'), Type.Literal('failed')]),
  phase: Type.Optional(Type.String({ maxLength: 40 })), // of the failure
  reason: Type.Optional(Type.String({ maxLength: 1000 })),
  receipt: Type.Optional(
    Type.Object({
      hostKeys: Type.Array(Type.String({ maxLength: 2000 }), { maxItems: 10 }), // lines of ssh_host_*_key.pub
      espUuid: Type.Optional(Type.String({ maxLength: 40 })),
      loader: Type.Optional(Type.String({ maxLength: 200 })), // path on the ESP, as /EFI/debian/grubx64.efi
      bytes: Type.Integer({ minimum: 0 }),
      seconds: Type.Integer({ minimum: 0 }),
    }),
  ),
})
export type DiskFacts = Static<typeof DiskFacts>
export type NodeFacts = Static<typeof NodeFacts>
export type Start = Static<typeof Start>
export type Progress = Static<typeof Progress>
export type Log = Static<typeof Log>
export type Finish = Static<typeof Finish>
