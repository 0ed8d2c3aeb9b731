// Opens what a published name means. One opener serves TFTP and HTTP, so both say the same.
import { basename, join } from 'node:path'
import type { Digest, Ipv4, Mac } from '../../src/address.ts'
import { isIpv4 } from '../../src/address.ts'
import { type Meaning, type NodeIndex, normalizeName, resolveName } from '../../src/boot/names.ts'
import type { BootNode, BootPlan, ServerAddress } from '../../src/boot/plan.ts'
import { renderOrHold } from '../../src/boot/text.ts'
import { type BootFacts, type Content, fileContent, type Open, textContent } from './content.ts'
import type { Joined } from './joined.ts'

type Needs = {
  server: ServerAddress // of the network that this opener answers
  nodes(): NodeIndex // as it stands now
  loaders: ReadonlyMap<string, string> // published name, as 'boot/grub/x86_64-efi/core.efi' -> where the file is
  blobFolders: Iterable<string> // files named by their hex digest
  joined: Joined
  macOf?(address: Ipv4): Mac | undefined // leases, neighbour table
}

export function openPublished(needs: Needs): Open {
  const { server, nodes, blobFolders, joined, macOf } = needs
  const loaders = new Set(needs.loaders.keys())

  return async (raw, peer) => {
    const name = normalizeName(raw)
    if (name === undefined || !isIpv4(peer)) return undefined
    const asker = { address: peer, mac: macOf?.(peer) }
    const meaning = resolveName(name, asker, { nodes: nodes(), loaders, server })
    return meaning && contentOf(meaning)
  }

  async function openLoader(file: string): Promise<Content | undefined> {
    const path = needs.loaders.get(file)
    const content =
      path === undefined ? undefined : await fileContent(path, { contentType: loaderType(file) })
    // Built loaders are kept by digest, and the file is named by it.
    return content && { ...content, sent: { what: 'loader', file, bytes: content.bytes, ...digestOf(path!) } }
  }

  async function openJoined(digests: Digest[]): Promise<Content | undefined> {
    const content = await joined.open(digests)
    return content && { ...content, sent: { what: 'blob', digest: digests[0]!, bytes: content.bytes } }
  }

  async function contentOf(meaning: Meaning): Promise<Content | undefined> {
    switch (meaning.kind) {
      case 'text': {
        const rendered = renderOrHold({ ...meaning, server })
        return rendered && textContent(rendered.text, factsOf(meaning.node, rendered.plan))
      }
      case 'fixed':
        return textContent(meaning.text)
      case 'joined':
        return openJoined(meaning.digests)
      case 'loader':
        return openLoader(meaning.file)
      case 'blob':
        return openBlob(blobFolders, meaning.digest.slice('sha256:'.length))
    }
  }
}

/** From the first folder that has it. */
async function openBlob(folders: Iterable<string>, hex: string): Promise<Content | undefined> {
  for (const folder of folders) {
    const content = await fileContent(join(folder, hex), { contentType: 'application/octet-stream' })
    const digest = `sha256:${hex}` as Digest
    if (content) return { ...content, sent: { what: 'blob', digest, bytes: content.bytes } }
  }
  return undefined
}

/** EDK2's HTTP boot goes by the type before the name. */
const loaderType = (file: string): string =>
  file.endsWith('.efi') ? 'application/efi' : 'application/octet-stream'

function factsOf(node: BootNode, plan: BootPlan): BootFacts {
  const deployment = node.deployment?.id
  const [mac] = node.mac
  return {
    ...(!node.stranger && { node: node.name }),
    kind: plan.kind,
    ...(mac !== undefined && { mac }),
    ...(deployment !== undefined && { deployment }),
  }
}

function digestOf(path: string): { digest?: Digest } {
  const name = basename(path)
  return /^[0-9a-f]{64}$/.test(name) ? { digest: `sha256:${name}` as Digest } : {}
}
