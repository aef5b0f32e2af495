package signals

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	"idlegrid/agent/internal/local"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// maxHelpers bounds the streams of one user: a helper for each session, and one that is just replaced.
	maxHelpers = 16
	// pace is the least time between two reports of a helper that are looked at: a flood waits in its own pipe.
	pace = 5 * time.Millisecond
	// longest is the most that a helper's idle time is believed to be.
	longest = 365 * 24 * time.Hour
	// answers is how long after saying it last a helper is told of input again: while somebody types once is enough.
	answers = 500 * time.Millisecond
)

// report is what the helper in a session said last, and whom the system says it is.
type report struct {
	user, session      string
	input              time.Time // zero: it does not say
	locked, presenting *bool     // nil: it does not say
	at                 time.Time
}

// reports keeps the last report of each stream. It answers gRPC's service Session.
type reports struct {
	gridv1.UnimplementedSessionServer
	changed func()

	mu      sync.Mutex // guards everything below, and what held points to
	held    map[*report]struct{}
	working bool
	turned  chan struct{} // closed when working changes
}

func newReports(changed func()) *reports {
	return &reports{changed: changed, held: map[*report]struct{}{}, turned: make(chan struct{})}
}

func (r *reports) work(yes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if yes != r.working {
		r.working = yes
		close(r.turned)
		r.turned = make(chan struct{})
	}
}

func (r *reports) works() (yes bool, turned <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.working, r.turned
}

// Report takes a helper's reports until it ends.
func (r *reports) Report(stream grpc.BidiStreamingServer[gridv1.SessionReport, gridv1.SessionAsk]) error {
	caller, ok := local.CallerFrom(stream.Context())
	if !ok {
		return jobs.Errorf(jobs.Denied, "%s is for programs on this machine", gridv1.Session_Report_FullMethodName)
	}
	mine := &report{user: caller.User, session: caller.Session}
	if err := r.add(mine); err != nil {
		return err
	}
	defer r.drop(mine)
	ctx, cancel := context.WithCancel(stream.Context())
	var asking sync.WaitGroup
	asking.Go(func() { r.ask(ctx, stream) })
	defer func() {
		cancel()
		asking.Wait()
	}()
	var last time.Time
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		now := time.Now()
		if r.take(mine, m, now) {
			r.changed()
		}
		if err := breathe(stream.Context(), last, now); err != nil {
			return err
		}
		last = now
	}
}

// ask tells a helper how closely to look, at first and at each change. It ends with ctx, or when the helper is gone, which
// Recv tells as well.
func (r *reports) ask(ctx context.Context, stream grpc.BidiStreamingServer[gridv1.SessionReport, gridv1.SessionAsk]) {
	for {
		yes, turned := r.works()
		if err := stream.Send(&gridv1.SessionAsk{Closely: yes}); err != nil {
			return
		}
		select {
		case <-turned:
		case <-ctx.Done():
			return
		}
	}
}

// breathe waits where two reports came faster than the pace.
func breathe(ctx context.Context, last, now time.Time) error {
	early := pace - now.Sub(last)
	if early <= 0 {
		return nil
	}
	select {
	case <-time.After(early):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *reports) add(mine *report) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for other := range r.held {
		if other.user == mine.user && (mine.user != "" || other.session == mine.session) {
			n++
		}
	}
	if n >= maxHelpers {
		return jobs.Errorf(jobs.Exhausted, "too many helpers of user %s report: %d", mine.user, n)
	}
	r.held[mine] = struct{}{}
	return nil
}

// drop forgets a helper that has ended: what its session is like is not known from now on.
func (r *reports) drop(mine *report) {
	r.mu.Lock()
	delete(r.held, mine)
	r.mu.Unlock()
	r.changed()
}

// take notes a report and says whether it is news that does not bear waiting.
func (r *reports) take(mine *report, m *gridv1.SessionReport, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := *mine
	mine.at, mine.input = now, time.Time{}
	if m.IdleMs != nil {
		mine.input = now.Add(-min(time.Duration(min(m.GetIdleMs(), uint64(longest/time.Millisecond)))*time.Millisecond, longest))
	}
	mine.locked, mine.presenting = m.Locked, m.Presenting
	switch {
	case before.at.IsZero(), mine.input.IsZero() != before.input.IsZero():
		return true
	case mine.input.Sub(before.input) > answers:
		return true
	}
	return differ(before.locked, mine.locked) || differ(before.presenting, mine.presenting)
}

func differ(a, b *bool) bool { return (a == nil) != (b == nil) || a != nil && *a != *b }

// fresh returns the reports that still say something.
func (r *reports) fresh(now time.Time) []report {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]report, 0, len(r.held))
	for one := range r.held {
		if !one.at.IsZero() && now.Sub(one.at) <= Stale {
			all = append(all, *one)
		}
	}
	return all
}

// login is a session as the system's own list has it.
type login struct {
	Session
	screen   bool      // it is a desktop, at the machine or from afar
	only     bool      // its user has no other desktop; set by markOnly
	terminal string    // its device, below the folder dev; empty: none that is known
	idle     time.Time // the system says that nobody has used it since then; zero: it does not say
	started  time.Time // zero: unknown
}

// loginsOf returns the sessions that helpers speak for, where the system has no list of its own.
func loginsOf(reports []report) []login {
	var all []login
	seen := map[string]bool{}
	for _, r := range reports {
		if !seen[r.user] {
			seen[r.user] = true
			all = append(all, login{Session: Session{ID: "of user " + r.user, User: r.user, Kind: Graphical}, screen: true})
		}
	}
	return all
}

// markOnly notes which desktops are their users' only ones.
func markOnly(logins []login) {
	screens := map[string]int{}
	for _, l := range logins {
		if l.screen {
			screens[l.User]++
		}
	}
	for i := range logins {
		logins[i].only = logins[i].screen && screens[logins[i].User] == 1
	}
}

// join says what is known of a session. Of several helpers that speak for it the one that saw input last counts. A
// helper speaks for its own session, or, if the system knows none for it, for its user's desktop. Of a user with two
// desktops nobody could tell for which.
func join(l login, reports []report, typed, now time.Time) Session {
	s := l.Session
	for _, r := range reports {
		if !speaksFor(r, l) {
			continue
		}
		s.Locked = s.Locked || r.locked != nil && *r.locked
		if !r.input.IsZero() && (s.Reported.IsZero() || r.input.After(s.Input)) {
			s.Input, s.Reported = r.input, r.at
		}
	}
	if !typed.IsZero() && typed.After(s.Input) {
		s.Input, s.Reported = typed, now
	}
	if s.Reported.IsZero() && !l.idle.IsZero() {
		s.Input, s.Reported = l.idle, now
	}
	return s
}

func speaksFor(r report, l login) bool {
	if r.user != l.User && r.user != "" && l.User != "" {
		return false
	}
	if r.session != "" {
		return r.session == l.ID
	}
	return r.user != "" && l.only
}

// presenting says whether somebody shows something to others. Helpers that cannot see that are no reason against
// working: what they see of the input is.
func presenting(reports []report, now time.Time) Reading[bool] {
	reading := Reading[bool]{None: true}
	for _, r := range reports {
		if r.presenting != nil {
			reading = Reading[bool]{Value: reading.Value || *r.presenting, At: now}
		}
	}
	return reading
}
