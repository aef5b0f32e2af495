// Package records keeps what a peer knows: every live manifest with its rulings, cancel and seal, and the
// reports of the shards that it stewards or has worked for.
//
// A record is accepted when its job is live, its signers' certificates lead to the grid's root, its sizes
// and numbers are in bounds and, for a report, enough holders gave receipts for its pack. What was accepted
// is on disk, in the one bbolt file of the peer, before Add returns; it stays there until days after the
// job expired, see Sweep.
// A receipt counts while its holder may hold blobs, and for 120 hours after this peer saw that last: a copy on a
// PC that is off is one. A report that lacks receipts is refused for now. Whoever offers it gives its pack to
// others, keeps their receipts with it (AddReceipts) and offers it again.
// A report of the peer's own is its journal: nothing else needs to be written for it to survive.
//
//	offer ──verify──▶ one bbolt transaction (fsync) ──▶ ledger in memory ──▶ OnChange
//
// Two peers with the same records show the same status of every unit, whatever the order in which they
// learned them. Records travel by Push, and by Sync: compare one digest, then ID lists, then content, in
// one direction or both. Within a call and a stream a job's manifest comes before what needs it.
//
// Every author has a bound of its own on what peers keep: an agent in each shard, a submitter in each job of
// its own. What is above it is refused for now, and nobody else's record is displaced by it. The bound follows
// the size of the job, not that of the disk.
//
// A record of a type that this version does not know is kept and handed on byte for byte, within a bound of its
// author's for such, if it names a live job in its first field and one who has to do with the job signed it, alone.
// It means nothing until a version that knows the type reads it from disk, and looks then whether its author may say
// that. What such a version stored by its kind an older one reads as a record that it does not know.
//
// The package lends nothing and runs nothing; that is for steward and worker.
package records
