// The bytes of a loader's text: the same for TFTP and HTTP, the same however often they are asked for.

import { UserError } from '../fault.ts'
import type { Netboot } from '../node/node.ts'
import { eliloWarning, renderElilo } from './elilo.ts'
import { type GrubTransport, renderGrub } from './grub.ts'
import { renderIpxe } from './ipxe.ts'
import { checkLength } from './kernel-words.ts'
import type { BootNode, BootPlan, KernelPlan, ServerAddress } from './plan.ts'
import { holdPlan, planBoot } from './policy.ts'
import { renderPetitboot, renderPxelinux, renderSlof } from './pxelinux.ts'

/** `name` is what the text was asked by, for asking again. */
type About = { plan: BootPlan; name: string; node: BootNode; server: ServerAddress }
type Render = (about: About) => string | undefined

// One row per language; undefined: the loader has no words for that plan.
const languages = {
  grub: ({ plan, server, node }) => renderGrub(plan, server, { transport: transportOf(node.netboot) }),
  'signed-grub': ({ plan, server }) => renderGrub(plan, server, { signed: true }),
  ipxe: ({ plan, server, name, node }) => renderIpxe(plan, server, { name, elilo: node.netboot === 'elilo' }),
  elilo: ({ plan }) => ofKernel(plan, renderElilo),
  pxelinux: ({ plan }) => renderPxelinux(plan),
  petitboot: ({ plan, server }) => renderPetitboot(plan, server),
  slof: ({ plan }) => ofKernel(plan, renderSlof),
} satisfies Record<string, Render>
export type Language = keyof typeof languages

/** Throws UserError for what can not be said: too long a command line, a character that the loader has no way to write. */
export function renderText({ language, ...about }: About & { language: Language }): string | undefined {
  const { plan } = about
  if ('args' in plan) checkLength(plan.args)
  return languages[language](about)
}

/** The languages that a node's firmware may ask for. */
const asked: Record<Netboot | 'any', Language[]> = {
  any: ['grub', 'ipxe', 'petitboot'],
  grub2: ['grub', 'petitboot'],
  'grub2-http': ['grub', 'petitboot'],
  'grub2-tftp': ['grub', 'petitboot'],
  shim: ['signed-grub', 'grub', 'petitboot'],
  ipxe: ['ipxe', 'petitboot'],
  xnba: ['ipxe', 'petitboot'],
  elilo: ['elilo', 'ipxe', 'petitboot'],
  pxe: ['pxelinux', 'slof', 'petitboot'],
  petitboot: ['petitboot'],
}

/**
 * Writes all that a node may be sent, so that what can't be said is known when it is asked for and not at its boot.
 * @returns what to tell the person who asked, if there is anything
 */
export function checkTexts(node: BootNode, server: ServerAddress): string | undefined {
  const plan = planBoot(node, server)
  for (const language of plan ? asked[node.netboot ?? 'any'] : [])
    renderText({ language, plan: plan!, node, server, name: 'boot/ipxe/00-00-00-00-00-00' })
  return node.netboot === 'elilo' && plan && 'kernel' in plan ? eliloWarning(plan.kernel.bytes) : undefined
}

const ofKernel = (plan: BootPlan, render: (plan: KernelPlan) => string) =>
  plan.kind === 'install' || plan.kind === 'boot' ? render(plan) : undefined

const transportOf = (netboot: Netboot | undefined): GrubTransport =>
  netboot === 'grub2-http' ? 'http' : netboot === 'grub2-tftp' ? 'tftp' : 'auto'

/** The text, or when it can't be written a screen that says why: a machine must not stand before an error of ours. */
export function renderOrHold(
  about: About & { language: Language },
): { text: string; plan: BootPlan } | undefined {
  try {
    const text = renderText(about)
    return text === undefined ? undefined : { text, plan: about.plan }
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    const plan = holdPlan(about.node, error.message)
    const text = renderText({ ...about, plan })
    return text === undefined ? undefined : { text, plan }
  }
}
