'use strict'
// A member of a group in a process of its own, which a test can kill: within the test's process it
// could only say that it leaves. Prints the value of each record that it has read, and commits the
// first few.
//
//     node doomed.js GROUP TOPIC COMMITS

const { Kafka, logLevel } = require('kafkajs')

const [groupId, topic, commits] = process.argv.slice(2)
const kafka = new Kafka({ brokers: [process.env.INTEROP_BOOTSTRAP], logLevel: logLevel.ERROR })
const member = kafka.consumer({ groupId, sessionTimeout: 6000, heartbeatInterval: 300 })
let uncommitted = Number(commits)

async function main() {
  await member.connect()
  await member.subscribe({ topics: [topic], fromBeginning: true })
  await member.run({
    autoCommit: false,
    eachMessage: async ({ partition, message }) => {
      if (uncommitted-- > 0) {
        const offset = String(Number(message.offset) + 1)
        await member.commitOffsets([{ topic, partition, offset }])
      }
      console.log(message.value.toString())
    },
  })
}

main()
