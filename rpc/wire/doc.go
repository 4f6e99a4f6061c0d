// Package wire names the methods that agents and servers call on one another over rpc, and their
// messages. Messages are msgpack; API objects travel in them as protobuf bytes, ops in the
// encoding of api/ops. A new field is added at the end of its struct; a field's meaning never changes.
//
// It must not know: how a message is carried or who may send it.
package wire
