// A thread that transfers files. It never goes back to its event loop while the kernel can be asked directly: everything in it
// is synchronous.
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { loadLibc } from '../net/libc.ts'
import { makeFiles } from './files.ts'
import { openKernelWire } from './kernel-wire.ts'
import type { usualLimits } from './queue.ts'
import { makeTransfers, type Order, tickMs } from './transfers.ts'
import { dgramWire, type Wire } from './wire.ts'

export type WorkerData = {
  orders: MessagePort // Order, or 'stop'
  limits: Partial<typeof usualLimits>
  taken: Int32Array // [0]: how many orders came out of the port
  descriptors: Int32Array
  wake?: number // an eventfd that is written to after each order; absent: node:dgram
}

const { orders, limits, taken, descriptors, wake } = workerData as WorkerData
const libc = wake === undefined ? undefined : await loadLibc()
if (libc && wake !== undefined) runKernel(openKernelWire(libc, { wake, descriptors }))
else runDgram()

function transfersOver(wire: Wire) {
  const now = () => performance.now()
  return makeTransfers({
    wire,
    limits,
    now,
    files: makeFiles(),
    report: (report) => parentPort!.postMessage(report),
  })
}

function runKernel(kernel: ReturnType<typeof openKernelWire>) {
  const transfers = transfersOver(kernel.wire)
  let nextTick = 0
  try {
    for (;;) {
      // An end of the process waits for this thread, so it never sleeps for long.
      const woken = kernel.turn(transfers.count() > 0 ? tickMs : 250)
      if (woken && !takeOrders(transfers)) return
      if (performance.now() < nextTick) continue
      transfers.tick()
      nextTick = performance.now() + tickMs
    }
  } finally {
    transfers.close()
    kernel.close()
    orders.close()
  }
}

/** False: it is time to stop. */
function takeOrders(transfers: ReturnType<typeof makeTransfers>): boolean {
  for (let next = receiveMessageOnPort(orders); next; next = receiveMessageOnPort(orders)) {
    if (next.message === 'stop') return false
    Atomics.add(taken, 0, 1)
    transfers.request(next.message as Order)
  }
  return true
}

function runDgram() {
  const transfers = transfersOver(dgramWire)
  const timer = setInterval(transfers.tick, tickMs)
  orders.on('message', (message: Order | 'stop') => {
    if (message !== 'stop') {
      Atomics.add(taken, 0, 1)
      return transfers.request(message)
    }
    clearInterval(timer)
    transfers.close()
    orders.close()
  })
}
