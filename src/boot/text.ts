// The bytes of a loader's text: the same for TFTP and HTTP, the same however often they are asked for.
import { renderGrub } from './grub.ts'
import { renderIpxe } from './ipxe.ts'
import type { Meaning } from './names.ts'
import type { ServerAddress } from './plan.ts'

export function renderText(
  { language, plan, name }: Extract<Meaning, { kind: 'text' }>,
  server: ServerAddress,
): string {
  switch (language) {
    case 'grub':
      return renderGrub(plan, server)
    case 'ipxe':
      return renderIpxe(plan, server, name)
  }
}
