// Package podstatus holds the statuses of pods in little memory.
//
// Main flow: Compact takes a status as protobuf apart into its shape and its values. The values are what differs from pod to pod:
// times, addresses, ids of containers, counts of restarts, messages. The shape is everything else, the names, images, types of
// conditions and phases in their order, and is shared by all statuses that have it. An Expander puts the two together again, as the
// very bytes that were taken apart, as protobuf for the API or as JSON for the API, the last from parts that were encoded once a shape.
//
// Compact knows by number the few fields whose values differ. Whatever else there is, also fields that this version does not know,
// belongs to the shape, byte for byte; Compact proves for each status that it comes back, and one that would not is a shape by itself.
// Most statuses have a shape that others had a moment ago; these are compared with it instead, step by step.
//
// The compact form lives in memory only. Logs, snapshots and the network have the protobuf.
//
// It must not know: pods, stores, or what a status means, but for the few things that readers of many pods ask for.
package podstatus
