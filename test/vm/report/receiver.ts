// Listens in the lab's network for what the test ramdisks report, and writes each report as one line of JSON.
//   node receiver.ts PORT
import { createServer } from 'node:http'

createServer((request, response) => {
  let body = ''
  request.setEncoding('utf8')
  request.on('data', (text) => {
    body = (body + text).slice(0, 10_000)
  })
  request.on('end', () => {
    const facts = body.split('\n').map((line) => [line.split('=', 1)[0]!, line.slice(line.indexOf('=') + 1)])
    const report = { time: Date.now(), peer: request.socket.remoteAddress, ...Object.fromEntries(facts) }
    process.stdout.write(`${JSON.stringify(report)}\n`)
    response.end('thanks\n')
  })
}).listen(Number(process.argv[2]), '0.0.0.0')
