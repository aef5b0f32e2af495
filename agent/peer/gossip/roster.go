package gossip

import (
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"golang.org/x/time/rate"

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

// pace is how fast an agent begins runs.
type pace struct {
	limiter *rate.Limiter
	last    uint64 // boot counter of the run that was counted last
}

// roster is the list of live names, kept beside memberlist's own because that one is locked while it calls
// us, and copies pointers.
type roster struct {
	mu    sync.Mutex              // guards everything below
	seats map[jobs.AgentID][]seat // ordered by boot counter; the last one is shown
	paces map[jobs.AgentID]pace
	shown []peer.Member // ordered by ID; nil: to be made again
	until time.Time     // when the first voucher among the shown ends
}

func newRoster() *roster {
	return &roster{seats: make(map[jobs.AgentID][]seat), paces: make(map[jobs.AgentID]pace)}
}

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

// put seats a run, or changes it, and reports whether another run of its agent was seated before.
func (r *roster) put(s seat, now time.Time) (another bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shown = nil
	seats := r.seats[s.member.ID]
	i, ok := find(seats, s.boot)
	if ok {
		seats[i] = s
		return false
	}
	r.seats[s.member.ID] = slices.Insert(seats, i, s)
	p, paced := r.paces[s.member.ID]
	if !paced {
		p.limiter = rate.NewLimiter(rate.Every(runEvery), maxRuns)
	}
	if !paced || p.last != s.boot { // the same again was thought to be dead
		p.limiter.AllowN(now, 1)
		p.last = s.boot
		r.paces[s.member.ID] = p
	}
	return len(seats) > 0
}

// former returns the names of runs after which their agents have begun later ones.
func (r *roster) former() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for id, seats := range r.seats {
		for _, s := range seats[:len(seats)-1] {
			names = append(names, nameOf(id, s.boot))
		}
	}
	return names
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
		if r.paces[id].limiter.TokensAt(time.Now()) >= maxRuns {
			delete(r.paces, id)
		}
	}
}

// admits returns why a run is not let in: its agent has begun a later one, or begins them too fast.
func (r *roster) admits(id jobs.AgentID, boot uint64, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	seats := r.seats[id]
	i, seated := find(seats, boot)
	if seated {
		return nil
	}
	if i < len(seats) {
		return jobs.Errorf(jobs.Invalid, "run %d of agent %s: run %d is here", boot, id.Short(), seats[len(seats)-1].boot)
	}
	if p, ok := r.paces[id]; ok && p.last != boot && p.limiter.TokensAt(now) < 1 {
		return jobs.Errorf(jobs.Exhausted, "run %d of agent %s: it begins more than one each %s", boot, id.Short(), runEvery)
	}
	return nil
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
