package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
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
			"place until q or Ctrl-C, else once, or as often as -n says. Speed and time left are as this gridctl sees units\n" +
			"end, so that the first look has none. It works with the coordinator off.",
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
	s := newScreen(a.stdout)
	live := isTerminal(a.stdout) && takesEscapes(a.stdout)
	if !live {
		o.looks = max(o.looks, 1)
	}
	ctx, leave, err := a.untilQuit(ctx, live)
	if err != nil {
		return err
	}
	defer func() {
		if live {
			err = errors.Join(err, s.end())
		}
		err = errors.Join(err, leave())
	}()
	ticker := time.NewTicker(o.interval)
	defer ticker.Stop()
	for n := 1; ; n++ {
		all := f.look(ctx)
		if ctx.Err() != nil {
			return nil // who watches has seen enough
		}
		byActivity(all)
		s.above = func() []string { return []string{s.summary(g.members, all), ""} }
		if live {
			err = s.show(all)
		} else {
			err = s.print(all)
		}
		if err != nil || n == o.looks {
			return err
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// untilQuit returns a context that ends with the key q too, where the keyboard is a terminal and the screen is drawn.
func (a *app) untilQuit(ctx context.Context, live bool) (context.Context, func() error, error) {
	ctx, cancel := context.WithCancel(ctx)
	in, ok := a.stdin.(*os.File)
	if !live || !ok || !term.IsTerminal(int(in.Fd())) {
		return ctx, func() error { cancel(); return nil }, nil
	}
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		cancel()
		return ctx, nil, fmt.Errorf("read keys: %w", err)
	}
	go func() { // it reads until the process ends
		const interrupt = 3 // what Ctrl-C is where keys come as they are
		key := make([]byte, 1)
		for {
			if _, err := in.Read(key); err != nil || key[0] == 'q' || key[0] == interrupt {
				cancel()
				return
			}
		}
	}()
	return ctx, func() error {
		cancel()
		return term.Restore(int(in.Fd()), before)
	}, nil
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

// summary returns such as "5 agents, 12 cores offered, 3 running jobs, 8 units lent, 2.5 units/s, 97 % useful".
func (s *screen) summary(members []peer.Member, all []jobStatus) string {
	agents, cores, running := 0, 0, 0
	for _, m := range members {
		if m.Role == peer.Agent {
			agents, cores = agents+1, cores+m.Cores
		}
	}
	var lent uint64
	rate, useful, spent := 0.0, 0.0, 0.0
	for _, j := range all {
		useful, spent = useful+j.CPU, spent+j.spent
		if j.State != stateRunning {
			continue
		}
		running, lent = running+1, lent+j.Lent
		if p := s.paces[j.id]; p != nil {
			rate += p.Rate(s.now(), j.Accepted+j.Failed+j.Conflict)
		}
	}
	parts := []string{count(agents, "agent"), count(cores, "core") + " offered", count(running, "running job"), count(lent, "unit") + " lent"}
	if rate > 0 {
		parts = append(parts, fmt.Sprintf("%.3g units/s", rate))
	}
	if spent > 0 {
		parts = append(parts, fmt.Sprintf("%.0f %% of CPU time useful", 100*min(useful/spent, 1)))
	}
	return strings.Join(parts, ", ")
}
