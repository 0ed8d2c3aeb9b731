// What a layer holds and where, found out while its archive passes by.
import { WireError } from '../fault.ts'
import type { FileFacts } from './compare-line.ts'
import { readHashedTar } from './content-hash.ts'
import type { TarEntry } from './tar.ts'

/** One member of a layer, as its archive has it. */
export type LayerMember = {
  facts: FileFacts
  hardLinkTo?: string // path of the member that has the content; `facts` are then those of the link's own header
  offset: number // of its first header in the uncompressed layer
  end: number // where the next member begins
  sha256?: string // of the content of a regular file; absent where it was not computed
  xattrs?: string // sha256 over its extended attributes and ACLs
  ctimeNs?: string
  inode?: string
}

const MOST_MEMBERS = 20_000_000

/** Fed with an archive in pieces of any size; `members` is complete after `end`. Throws WireError for what is no archive. */
export function indexArchive() {
  const members: LayerMember[] = []
  const tar = readHashedTar((entry, sha256) => {
    if (members.length === MOST_MEMBERS) throw new WireError(`tar: more than ${MOST_MEMBERS} members`)
    members.push(memberOf(entry, sha256))
  })
  return { push: tar.push, end: tar.end, members: members as readonly LayerMember[] }
}

function memberOf(entry: TarEntry, sha256: string | undefined): LayerMember {
  const { facts, hardLinkTo, offset, end, xattrs, ctimeNs } = entry
  return {
    facts,
    offset,
    end,
    ...(hardLinkTo !== undefined && { hardLinkTo }),
    ...(sha256 !== undefined && { sha256 }),
    ...(xattrs !== undefined && { xattrs }),
    ...(ctimeNs !== undefined && { ctimeNs }),
  }
}
