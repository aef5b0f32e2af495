// Package gossip says who is in the pool, how many cores each member offers, and wakes idle members. It is
// the only package that knows memberlist.
//
// What it gives are hints. memberlist trusts everyone who holds the gossip key: such a one can make a
// member look dead, for good if it picks the highest incarnation number (memberlist's own answer then
// overflows; the cure is to start the agent again, with a higher boot counter). It cannot invent a member,
// change one or move its address, because a member's meta is signed:
//
//	name    <agent ID, 64 hex digits>.<boot counter>
//	meta    NodeMeta: public key, the authority's voucher for (key, role, class, time), capacity, and last
//	        the machine's signature over (all before it, name, address)
//
// A name is used for one run of one program. So a recorded "I leave" of yesterday names nobody today, and
// a restarted machine does not have to outbid what the pool remembers of it. Of two live names with one
// agent ID the higher boot counter is shown, and memberlist is told that the other has left. Where both live,
// because a state folder was copied, the lower one is listed again some minutes after the higher one ended: its next
// push-pull says that it is there.
//
//	New ──> alone ──Join──> member ──Leave──> left ──Close──> closed
//	          └────────────────┴───────Close─────────────────────^
//
// After Leave nothing but Close is left to do: whoever comes back comes with a new Gossip and a higher
// boot counter.
//
// Packets are encrypted with the gossip key, streams run inside the connections that the caller's Dial and
// Streams give (mutual TLS; caps on their number are the listener's). A peer without the key is not heard;
// one without a certificate gets no stream. A recorded packet can be played back by anybody; what it may
// still do is make members that were suspected then look dead, until they object a second or so later, or show the
// last place of one whose state folder was put back to before, until probes find nobody there.
//
// Not promised: that views agree, that a death is seen soon (20 s to 3 min), that a wake-up arrives.
package gossip
