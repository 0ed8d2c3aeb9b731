// What a finished install says of its machine, and how much of it is believed.
import { createHash } from 'node:crypto'
import type { Finish } from '../install/protocol.ts'
import type { Node } from '../node/node.ts'

/** What the next boot and the next ssh contact need to know of the clone. */
export function withReceipt(node: Node, receipt: NonNullable<Finish['receipt']>): Node {
  const { localLoader: _, ...rest } = node
  const { espUuid, loader, hostKeys } = receipt
  return {
    ...rest,
    cloneHostKeys: hostKeys.flatMap(fingerprint),
    ...(espUuid &&
      loader &&
      isLoaderPath(loader) &&
      isVolumeId(espUuid) && { localLoader: { espUuid, path: loader } }),
  }
}

// Both are written into GRUB's text of the next boot; the node is not trusted to name anything else.
const isLoaderPath = (path: string) => /^(\/[A-Za-z0-9._-]+)+\.efi$/i.test(path) && !path.includes('..')
const isVolumeId = (id: string) => /^[0-9A-F]{4}-[0-9A-F]{4}$/i.test(id)

/** `SHA256:...` of a line of a public key file, as ssh prints it. */
function fingerprint(line: string): string[] {
  const blob = line.trim().split(/\s+/)[1]
  if (!blob || !/^[A-Za-z0-9+/=]+$/.test(blob)) return []
  return [
    `SHA256:${createHash('sha256').update(Buffer.from(blob, 'base64')).digest('base64').replace(/=+$/, '')}`,
  ]
}
