// Package node wires what every peer has, working or not: identity, one listener for gRPC and gossip, the
// records store, blobs, membership and the spreading of records. The agent adds a steward and a worker, the
// coordinator adds admission; both live in one state folder:
//
//	key.pem chain.pem root.pem   who this peer is
//	grid.json                    gossip keys, voucher, the coordinator's addresses
//	peers.json                   the last 64 addresses of peers, to join by
//	records.db                   the bbolt file; its lock keeps a second process out
//	blobs/                       the blob store
//	addresses.json               where the running peer listens; there only while it runs
//	grid.left                    what grid.json becomes when an agent leaves, until the rest of this is gone
//
// It looks after the blobs that are here (tender: read again within a week, fetched again where they have rotted, let go
// where a disk gets full or they belong elsewhere) and, as the first steward of a shard, after how many agents have each
// of its blobs (repairer). What of a live job two others have not said that they keep is never let go of, and what
// repair moves keeps to a budget.
//
// What of this is lost comes back: records and blobs from the pool, addresses with --join, and at a coordinator,
// of which key.pem, root.pem and issuing.pem are left, the rest is made anew.
package node
