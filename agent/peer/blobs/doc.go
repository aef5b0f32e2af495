// Package blobs keeps bytes named by their SHA-256, hands them to peers and fetches them from peers.
//
//	submitter, agent --Put--> Service --> Store <-- Client --Get--> another peer's Service
//	                            |                     |
//	                            +---- receipt ------->+ (Replicate)
//
// It promises:
//   - A Store has a blob whole or not at all. What it says it has was verified against its digest when it
//     came and is on disk: a crash at any write loses only what was never acknowledged. What rots later is
//     found by Verify, which whoever uses a blob calls first, and by Get, which hashes what it sends.
//   - Every blob is kept for as long as somebody claims it (Claim), a job as its program, input or pack, an author
//     as a part of a unit's checkpoint, and goes with the last of them (Drop). Whoever drops what it claims takes
//     nothing that another does.
//   - A digest is a name, not a key: a Service hands a blob out only for a job that it keeps it for, and a
//     blob comes to be kept for a job only when its bytes are sent for that job, by someone who may.
//     What a peer knows of one job opens nothing of another.
//   - Nothing that a peer sends is believed before it is verified, and no peer holds up another: sizes are
//     checked before the first byte, transfers are bounded in number and must keep moving.
//
// It does not decide who may read or write (Policy does), where blobs belong (peer.Holders does), or when a
// copy must go or be added (package node does); it says which goes first where one must (EvictionOrder).
//
// Blobs are flat files, not archives and not rows of a database: an executor opens them by path, and a
// blob may be larger than memory. Why a blob is kept stands in the names of empty files beside them, so that
// both are durable by the same few calls and one folder is the whole truth.
package blobs
