// Loaded into every process of a test's server: a job that could not reach port 2223 ends without its last word.
const send = process.send?.bind(process)
if (send)
  process.send = (message, ...more) =>
    message?.body?.type === 'job-ended' && JSON.stringify(message).includes(':2223')
      ? true
      : send(message, ...more)
