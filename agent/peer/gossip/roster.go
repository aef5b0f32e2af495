package gossip

import (
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
)

// seat is one live name: one run of one agent.
type seat struct {
	member  peer.Member
	boot    uint64
	expires time.Time
}

func seatOf(n *memberlist.Node) (seat, error) {
	id, boot, err := parseName(n.Name)
	if err != nil {
		return seat{}, err
	}
	addr, err := addressOf(n)
	if err != nil {
		return seat{}, err
	}
	c, err := decodeMeta(n.Meta)
	if err != nil {
		return seat{}, err
	}
	return seat{boot: boot, expires: c.Voucher.NotAfter, member: peer.Member{
		ID: id, Address: addr.String(), Role: c.Voucher.Role, Class: c.Voucher.Class,
		Reachable: c.Reachable, Draining: c.Draining, Cores: c.Cores, Version: c.version,
	}}, nil
}

// roster is the list of live names, kept beside memberlist's own because that one is locked while it calls
// us, and copies pointers.
type roster struct {
	mu    sync.Mutex              // guards everything below
	seats map[jobs.AgentID][]seat // ordered by boot counter; the last one is shown
	shown []peer.Member           // ordered by ID; nil: to be made again
	until time.Time               // when the first voucher among the shown ends
}

func newRoster() *roster { return &roster{seats: make(map[jobs.AgentID][]seat)} }

func find(seats []seat, boot uint64) (int, bool) {
	return slices.BinarySearchFunc(seats, boot, func(s seat, boot uint64) int {
		switch {
		case s.boot < boot:
			return -1
		case s.boot > boot:
			return 1
		}
		return 0
	})
}

func (r *roster) put(s seat) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shown = nil
	seats := r.seats[s.member.ID]
	if i, ok := find(seats, s.boot); ok {
		seats[i] = s
	} else {
		r.seats[s.member.ID] = slices.Insert(seats, i, s)
	}
}

func (r *roster) drop(id jobs.AgentID, boot uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, ok := find(r.seats[id], boot)
	if !ok {
		return
	}
	r.shown = nil
	if r.seats[id] = slices.Delete(r.seats[id], i, i+1); len(r.seats[id]) == 0 {
		delete(r.seats, id)
	}
}

// crowded reports whether the agent has too many live names for one more.
func (r *roster) crowded(id jobs.AgentID, boot uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, seated := find(r.seats[id], boot)
	return !seated && len(r.seats[id]) >= maxNames
}

// top returns the name and address of an agent's newest run.
func (r *roster) top(id jobs.AgentID) (name, address string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seats := r.seats[id]
	if len(seats) == 0 {
		return "", "", false
	}
	s := seats[len(seats)-1]
	return nameOf(id, s.boot), s.member.Address, true
}

func (r *roster) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seats)
}

// members returns the newest run of every agent whose voucher holds. memberlist asks about a voucher when
// a claim arrives; a member that goes silent about its own is left out here.
func (r *roster) members(now time.Time) []peer.Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.shown == nil || expired(r.until, now) {
		r.show(now)
	}
	return slices.Clone(r.shown)
}

func (r *roster) show(now time.Time) {
	r.shown = make([]peer.Member, 0, len(r.seats))
	r.until = now.Add(24 * time.Hour)
	for _, seats := range r.seats {
		s := seats[len(seats)-1]
		if expired(s.expires, now) {
			continue
		}
		r.shown = append(r.shown, s.member)
		if s.expires.Before(r.until) {
			r.until = s.expires
		}
	}
	slices.SortFunc(r.shown, func(a, b peer.Member) int { return a.ID.Compare(b.ID) })
}
