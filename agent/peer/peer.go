// Package peer says who is in the pool and where shards and blobs belong.
//
// Placement reads only what members signed of themselves (ID, class, reachable, draining), never measured
// uptime, so that all peers with the same view agree without talking. Its packages hold what every peer
// has, working or not: the coordinator is a peer too.
package peer

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"net/netip"
	"slices"

	"idlegrid/jobs"
)

// Version is the protocol version that this program speaks. A manifest may demand a higher one.
const Version = 1

// Role is what a certificate lets its holder be.
type Role uint8

// The roles. The numbers are those of the protocol; zero is a caller without a certificate.
const (
	Anonymous Role = iota
	Agent
	Coordinator
	Submitter
	Operator
)

// String returns the role's name, as it stands in certificates.
func (r Role) String() string {
	return name([]string{"anonymous", "agent", "coordinator", "submitter", "operator"}, int(r))
}

// ParseRole reads what String writes; an anonymous role is never written.
func ParseRole(s string) (Role, error) {
	for r := Agent; r <= Operator; r++ {
		if r.String() == s {
			return r, nil
		}
	}
	return 0, jobs.Errorf(jobs.Invalid, "%q is no role: expected agent, coordinator, submitter or operator", s)
}

// Class is how an agent's machine lives. The zero value belongs to those who are no agents.
type Class uint8

// The classes. The numbers are those of the protocol.
const (
	AlwaysOn Class = iota + 1 // a server with no owner
	Office                    // a desktop
	Laptop
)

// String returns the class's name, as it stands in certificates and on the command line.
func (c Class) String() string { return name([]string{"", "always-on", "office", "laptop"}, int(c)) }

// ParseClass reads what String writes.
func ParseClass(s string) (Class, error) {
	for c := AlwaysOn; c <= Laptop; c++ {
		if c.String() == s {
			return c, nil
		}
	}
	return 0, jobs.Errorf(jobs.Invalid, "%q is no class: expected always-on, office or laptop", s)
}

func name(names []string, i int) string {
	if i >= len(names) {
		return "unknown"
	}
	return names[i]
}

// weight is how much of the grid's state a class carries: two of the three stewards and holders should be
// machines that stay on.
func (c Class) weight() float64 {
	switch c {
	case AlwaysOn:
		return 16
	case Office:
		return 1
	case Laptop:
		return 0.1
	default:
		return 0
	}
}

// Member is a peer as gossip shows it. All but ID, Role and Class is a hint.
type Member struct {
	ID        jobs.AgentID
	Address   string // host:port of gRPC and of gossip
	Role      Role
	Class     Class
	Reachable bool // a peer has dialled it back
	Draining  bool
	Cores     int // offered now
	Version   int
}

// Eligible reports whether the member may keep ledgers and blobs.
func (m Member) Eligible() bool {
	return m.Role == Agent && m.Class.weight() > 0 && m.Reachable && !m.Draining
}

// Rank returns at most n eligible members for key, the first choice first. It is weighted rendezvous
// hashing: each member scores -weight/ln(u) with u drawn from (key, ID), so that a member is chosen in
// proportion to its weight and its coming or going moves only what it held.
func Rank(key []byte, members []Member, n int) []Member {
	type scored struct {
		m     *Member
		score float64
	}
	all := make([]scored, 0, len(members))
	text := append(make([]byte, len(jobs.AgentID{})), key...)
	for i := range members {
		if m := &members[i]; m.Eligible() {
			copy(text, m.ID[:])
			all = append(all, scored{m, score(text, m.Class)})
		}
	}
	before := func(a, b scored) int { // without cmp.Or, which would compare the IDs each time
		if c := cmp.Compare(b.score, a.score); c != 0 {
			return c
		}
		return a.m.ID.Compare(b.m.ID)
	}
	n = min(n, len(all))
	if n <= Copies { // the best few of many are found without sorting the rest
		for i := range n {
			best := i
			for j := range all[i:] {
				if before(all[i+j], all[best]) < 0 {
					best = i + j
				}
			}
			all[i], all[best] = all[best], all[i]
		}
	} else {
		slices.SortFunc(all, before)
	}
	ranked := make([]Member, 0, n)
	for _, s := range all[:n] {
		ranked = append(ranked, *s.m)
	}
	return ranked
}

// score is that of an agent's ID with the key behind it.
func score(text []byte, class Class) float64 {
	h := sha256.Sum256(text)
	// 53 bits and a half: u lies strictly between 0 and 1, so its logarithm is finite and not zero.
	u := (float64(binary.BigEndian.Uint64(h[:])>>11) + 0.5) / (1 << 53)
	return -class.weight() / math.Log(u)
}

// Copies is how many agents keep a ledger, a pack, a program or an input, and CheckpointCopies a checkpoint.
const (
	Copies           = 3
	CheckpointCopies = 2
)

// Stewards returns the shard's stewards, the first choice first.
func Stewards(s jobs.ShardID, members []Member) []Member {
	return Rank(binary.BigEndian.AppendUint32(s.Job[:], s.Shard), members, Copies)
}

// BlobCounts says how many blobs have which copies: as many as there should be; fewer, and one of them on an agent that
// can be reached; none on such an agent.
type BlobCounts struct{ Enough, Few, None uint64 }

// Holders returns the agents that should keep a pack, a program or an input: the first Copies of them, and behind
// those the next choices.
func Holders(d jobs.Digest, members []Member, n int) []Member { return place(d[:], members, Copies, n) }

// CheckpointHolders returns the agents that should keep the checkpoints of a unit: the first CheckpointCopies of them,
// and behind those the next choices. They are the same for all parts of all of its checkpoints.
func CheckpointHolders(u jobs.UnitID, members []Member, n int) []Member {
	return place(binary.BigEndian.AppendUint64(u.Job[:], u.Unit), members, CheckpointCopies, n)
}

// place ranks members with those in front who should keep the copies: all but one on always-on agents, and each
// in a subnet of its own, as far as there are any. Within that the rank decides.
func place(key []byte, members []Member, copies, n int) []Member {
	ranked := Rank(key, members, len(members))
	var taken []netip.Prefix
	for i := range min(copies, n, len(ranked)) {
		rest := ranked[i:]
		best := pick(rest, i < copies-1, taken)
		m := rest[best]
		copy(rest[1:best+1], rest[:best])
		rest[0] = m
		taken = append(taken, subnet(m.Address))
	}
	return ranked[:min(n, len(ranked))]
}

// pick returns which of the ranked members should have the next copy. To be always on counts for more than a subnet
// of its own.
func pick(ranked []Member, alwaysOn bool, taken []netip.Prefix) int {
	best, merit := 0, -1
	for i, m := range ranked {
		on, near := !alwaysOn || m.Class == AlwaysOn, slices.Contains(taken, subnet(m.Address))
		if on && !near {
			return i
		}
		got := 0
		if on {
			got += 2
		}
		if !near {
			got++
		}
		if got > merit {
			best, merit = i, got
		}
	}
	return best
}

// SameSubnet reports whether two members are near each other, as far as their addresses tell: 24 bits of IPv4 and
// 64 of IPv6 in common. All of loopback is one subnet.
func SameSubnet(a, b Member) bool { return subnet(a.Address) == subnet(b.Address) }

// subnet returns what SameSubnet compares; the zero prefix for what is no address.
func subnet(address string) netip.Prefix {
	host, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.Prefix{}
	}
	ip := host.Addr().Unmap().WithZone("")
	switch {
	case ip.IsLoopback():
		return netip.PrefixFrom(netip.IPv6Loopback(), 128)
	case ip.Is4():
		return netip.PrefixFrom(ip, 24).Masked()
	default:
		return netip.PrefixFrom(ip, 64).Masked()
	}
}

const (
	// maxSources bounds the agents that are asked for a blob.
	maxSources = 64
	// maxNeighbours bounds those in the reader's subnet that are asked before others who are more likely to have it.
	maxNeighbours = 4
)

// Sources returns the agents that a reader asks for a blob, the nearest first: those in its subnet, who may have it
// since they need it too, then those of whom it is known that they had it, those that should have it, and others.
// Since it was stored the pool may have grown, which moved its holders down the rank, and who is about to leave still
// has what it held. Each reader has an order of its own, so that many do not all ask the same agent.
func Sources(self jobs.AgentID, d jobs.Digest, members []Member, known ...jobs.AgentID) []Member {
	var reader Member // without an address where it is not in the pool
	able := make([]Member, 0, len(members))
	for _, m := range members {
		if m.ID == self {
			reader = m
			continue
		}
		m.Draining = false
		m.Reachable = m.Reachable || slices.Contains(known, m.ID)
		able = append(able, m)
	}
	likely := map[jobs.AgentID]int{}
	for i, m := range Holders(d, able, 2*Copies) {
		likely[m.ID] = 1 + i/Copies
	}
	for _, id := range known {
		likely[id] = 0
	}
	return nearest(reader, Rank(append(self[:], d[:]...), able, len(able)), likely)
}

// nearest sorts members for a reader: by how near they are and how likely to have something, a lower number for a
// likelier one.
func nearest(reader Member, list []Member, likely map[jobs.AgentID]int) []Member {
	const neighbour, far, rest = 3, 4, 8
	order := map[jobs.AgentID]int{}
	neighbours := 0
	for _, m := range list {
		likelihood, is := likely[m.ID]
		near := reader.Address != "" && SameSubnet(reader, m)
		switch {
		case is && near:
			order[m.ID] = likelihood
		case is:
			order[m.ID] = far + likelihood
		case near && neighbours < maxNeighbours:
			neighbours++
			order[m.ID] = neighbour
		default:
			order[m.ID] = rest
		}
	}
	slices.SortStableFunc(list, func(a, b Member) int { return cmp.Compare(order[a.ID], order[b.ID]) })
	return list[:min(len(list), maxSources)]
}

// Needed is how many distinct peers make a fact durable: two, or all where there are fewer.
func Needed(members []Member) int {
	n := 0
	for _, m := range members {
		if m.Eligible() {
			n++
		}
	}
	return max(1, min(2, n))
}
