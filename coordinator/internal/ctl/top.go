package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
)

type topOptions struct {
	looks    int // 0: until it is ended
	interval time.Duration
}

func newTopCommand(a *app) *cobra.Command {
	var o topOptions
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch the pool and your jobs, the busiest first",
		Long: "top shows the pool and your jobs, an operator's those of all, again and again: on a terminal drawn anew in\n" +
			"place until q or Ctrl-C, else once, or as often as -n says. There s sorts in another way, / shows only jobs with\n" +
			"a text in their name, ID or state, and Esc all again. Cores used are those of agents that have units of these\n" +
			"jobs. Speed and time left are as this gridctl sees units end, so that the first look has none. It works with\n" +
			"the coordinator off.",
		Example: "  gridctl top\n  gridctl top -n 10 --interval 1m >>grid.log",
		Args:    nothing,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.top(cmd.Context(), o) },
	}
	cmd.Flags().IntVarP(&o.looks, "number", "n", 0, "end after so many looks (default: on a terminal never, else 1)")
	cmd.Flags().DurationVar(&o.interval, "interval", 2*time.Second, "time between two looks")
	return cmd
}

func (a *app) top(ctx context.Context, o topOptions) (err error) {
	switch {
	case o.looks < 0:
		return jobs.Errorf(jobs.Invalid, "-n %d: expected a number above 0", o.looks)
	case o.interval < pollEvery:
		return jobs.Errorf(jobs.Invalid, "--interval %s: expected at least %s", o.interval, pollEvery)
	}
	g, err := a.openGrid(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	if err := g.loadJobs(ctx); err != nil {
		return err
	}
	f := newFollower(g, g.store.Jobs(false))
	f.every = true
	if !isTerminal(a.stdout) || !takesEscapes(a.stdout) {
		return a.printTop(ctx, f, o)
	}
	return a.drawTop(ctx, f, o)
}

// printTop writes what it sees, one look below the other.
func (a *app) printTop(ctx context.Context, f *follower, o topOptions) error {
	s, all := newScreen(a.stdout), &topView{}
	ticker := time.NewTicker(o.interval)
	defer ticker.Stop()
	for n := 1; ; n++ {
		l := f.topLook(ctx)
		if ctx.Err() != nil {
			return nil // who watches has seen enough
		}
		s.above = func() []string { return []string{s.summary(l), ""} }
		if err := s.print(all.of(l.jobs)); err != nil || n == max(o.looks, 1) {
			return err
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// drawTop draws what it sees anew in place: at each look, and when a key or another size of the terminal asks for it.
func (a *app) drawTop(ctx context.Context, f *follower, o topOptions) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	var looking sync.WaitGroup
	defer looking.Wait()
	defer cancel()
	keys, leave, err := a.keyboard(ctx)
	if err != nil {
		return err
	}
	s, v := newScreen(a.stdout), &topView{}
	defer func() { err = errors.Join(err, s.end(), leave()) }()
	if keys != nil {
		s.below = func() []string { return []string{v.foot()} }
	}
	resized, unsubscribe := resizes()
	defer unsubscribe()
	ticker := time.NewTicker(o.interval)
	defer ticker.Stop()
	looks := make(chan topLook)
	look := func() {
		looking.Go(func() {
			select {
			case looks <- f.topLook(ctx):
			case <-ctx.Done():
			}
		})
	}
	var l topLook
	look()
	for n, due, under := 0, false, true; ; {
		select {
		case <-ctx.Done():
			return nil // who watches has seen enough
		case l = <-looks:
			n, under = n+1, false
		case <-ticker.C:
			due = true
		case text := <-keys:
			v.keys(text)
		case <-resized:
		}
		if v.quit {
			return nil
		}
		if n > 0 {
			s.above = func() []string { return []string{s.summary(l), ""} }
			if err := s.show(v.of(l.jobs)); err != nil || n == o.looks {
				return err
			}
		}
		if due && !under {
			due, under = false, true
			look()
		}
	}
}

// topLook is the pool and the jobs at a moment.
type topLook struct {
	members []peer.Member
	jobs    []jobStatus
}

func (f *follower) topLook(ctx context.Context) topLook {
	all := f.look(ctx)
	return topLook{f.g.members, all} // the members are replaced, and never changed
}

// keyboard returns what is typed, where somebody can: nil where nobody can. Only the end of the process ends the reading.
func (a *app) keyboard(ctx context.Context) (keys <-chan string, leave func() error, err error) {
	in, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return nil, func() error { return nil }, nil
	}
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, nil, fmt.Errorf("read keys: %w", err)
	}
	typed := make(chan string)
	go func() {
		for part := make([]byte, 256); ; {
			n, err := in.Read(part)
			if err != nil {
				return
			}
			select {
			case typed <- string(part[:n]):
			case <-ctx.Done():
				return
			}
		}
	}()
	return typed, func() error { return term.Restore(int(in.Fd()), before) }, nil
}

// byActivity sorts jobs: those first of which most is lent, then those that are open, then the newest.
func byActivity(all []jobStatus) {
	open := func(s jobStatus) int {
		if s.State == stateRunning || s.State == stateUnknown {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(all, func(x, y jobStatus) int {
		return cmp.Or(cmp.Compare(open(y), open(x)), cmp.Compare(y.Lent, x.Lent), y.Created.Compare(x.Created))
	})
}

// summary returns such as "5 agents, 12 cores offered, 6 used, 3 running jobs, 8 units lent, 2.5 units/s, 97 % useful".
func (s *screen) summary(l topLook) string {
	agents, cores, running := 0, 0, 0
	for _, m := range l.members {
		if m.Role == peer.Agent {
			agents, cores = agents+1, cores+m.Cores
		}
	}
	var lent uint64
	rate, useful, spent := 0.0, 0.0, 0.0
	now := s.now()
	for _, j := range l.jobs {
		useful, spent = useful+j.CPU, spent+j.spent
		p := s.pace(j, now)
		if j.State == stateRunning {
			running, lent = running+1, lent+j.Lent
			rate += p.Rate(now, j.done())
		}
	}
	parts := []string{
		count(agents, "agent"), count(cores, "core") + " offered", fmt.Sprintf("%d used", l.used()), count(running, "running job"),
		count(lent, "unit") + " lent",
	}
	if rate > 0 {
		parts = append(parts, fmt.Sprintf("%.3g units/s", rate))
	}
	if spent > 0 {
		parts = append(parts, fmt.Sprintf("%.0f %% of CPU time useful", 100*min(useful/spent, 1)))
	}
	return strings.Join(parts, ", ")
}

// used returns how many of the cores offered work for these jobs: those of agents that have borrowed units, and of no
// job more than it has units lent.
func (l topLook) used() (cores uint64) {
	offered := map[jobs.AgentID]uint64{}
	for _, m := range l.members {
		offered[m.ID] = uint64(m.Cores) // which are at least 0
	}
	busy := map[jobs.AgentID]bool{}
	for _, j := range l.jobs {
		if j.State != stateRunning {
			continue
		}
		var most uint64
		for id := range slices.Chunk([]byte(j.lessees), len(jobs.AgentID{})) {
			busy[jobs.AgentID(id)] = true
			most += offered[jobs.AgentID(id)]
		}
		cores += min(j.Lent, most)
	}
	var all uint64
	for id := range busy {
		all += offered[id]
	}
	return min(cores, all)
}
