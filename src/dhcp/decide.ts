// The one entry to the decision: on which port a request came, and in which mode its network is served.
import type { DhcpPorts } from './delivery.ts'
import { bootServerAnswer, proxyAnswer } from './proxy.ts'
import { type Answer, answer, type Context } from './reply.ts'
import type { Request } from './request.ts'

/** Ports of the server that requests come to. */
export type AskedPort = Exclude<keyof DhcpPorts, 'client'>

export function decide(port: AskedPort, request: Request, context: Context): Answer {
  if (port === 'bootServer') return bootServerAnswer(request, context)
  return context.network.mode === 'proxy' ? proxyAnswer(request, context) : answer(request, context)
}
