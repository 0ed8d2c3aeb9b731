// Sockets that systemd opened and hands over (sd_listen_fds): the server then needs no right to ports below 1024.
import dgram from 'node:dgram'
import { once } from 'node:events'
import type { Ipv4 } from '../../src/address.ts'
import { UserError } from '../../src/fault.ts'
import { adoptDescriptor } from './linux.ts'
import { literal } from './literal.ts'

/** A descriptor and its name (FileDescriptorName=). */
export type HandedDescriptor = { fd: number; name: string }
const FIRST_DESCRIPTOR = 3

/** What the environment says was handed to this process; an environment meant for another process says nothing. */
export function handedDescriptors(
  env: {
    LISTEN_FDS?: string | undefined
    LISTEN_PID?: string | undefined
    LISTEN_FDNAMES?: string | undefined
  },
  pid: number,
): HandedDescriptor[] {
  if (Number(env.LISTEN_PID) !== pid) return []
  const count = Number(env.LISTEN_FDS)
  if (!Number.isInteger(count) || count < 1 || count > 1000) return []
  const names = env.LISTEN_FDNAMES?.split(':') ?? []
  return Array.from({ length: count }, (_, i) => ({ fd: FIRST_DESCRIPTOR + i, name: names[i] ?? '' }))
}

type Wanted = { address: Ipv4; port: number } | { device: string; port: number }
type Socket = { name: string; address: string; port: number; socket: dgram.Socket }

/**
 * Takes them over. One on 0.0.0.0 is for the interface that it is named after, since a socket does not tell to which
 * interface it is bound; one on an address of ours needs no name.
 */
export async function openHanded(descriptors: readonly HandedDescriptor[]) {
  const open: Socket[] = []
  for (const { fd, name } of descriptors) open.push({ name, ...(await adopt(fd, name)) })

  function take(wanted: Wanted): dgram.Socket | undefined {
    const fits = (each: Socket) =>
      each.port === wanted.port &&
      ('address' in wanted
        ? each.address === wanted.address
        : each.address === '0.0.0.0' && each.name === wanted.device)
    const index = open.findIndex(fits)
    return index < 0 ? undefined : open.splice(index, 1)[0]!.socket
  }

  /** Nobody took these: the configuration does not have their interface or address. */
  function refuseRest() {
    const [{ name, address, port, socket }, ...others] = open as [Socket, ...Socket[]]
    for (const each of [socket, ...others.map((other) => other.socket)]) each.close()
    throw new UserError('systemd handed over a socket that nothing needs', {
      what: `${address}:${port}, named ${name || 'nothing'}`,
      allowed: '0.0.0.0 with FileDescriptorName= an interface of the configuration, or one of its addresses',
    })
  }
  return {
    take,
    finish() {
      if (open.length > 0) refuseRest()
    },
  }
}
export type Handed = Pick<Awaited<ReturnType<typeof openHanded>>, 'take'>

async function adopt(fd: number, name: string): Promise<Omit<Socket, 'name'>> {
  const socket = dgram.createSocket({ type: 'udp4', lookup: literal })
  const listening = once(socket, 'listening') // asked for first: it comes within the call of bind
  try {
    adoptDescriptor(socket, fd)
    await listening
  } catch (error) {
    throw new UserError('systemd handed over what is no UDP socket', {
      what: `descriptor ${fd}, named ${name || 'nothing'}: ${(error as Error).message}`,
      allowed: 'ListenDatagram= with IPv4 addresses',
    })
  }
  socket.setBroadcast(true)
  const { address, port } = socket.address()
  return { address, port, socket }
}
