package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"

	"google.golang.org/grpc"

	"idlegrid/agent"
	"idlegrid/agent/executor"
	"idlegrid/agent/internal/harvest/policy"
	"idlegrid/agent/internal/harvest/signals"
	"idlegrid/agent/internal/local"
	"idlegrid/agent/internal/owner"
	"idlegrid/agent/internal/panel"
	"idlegrid/agent/peer"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// side is the agent's side towards the people at this PC: what sees them, and the socket at which their programs reach
// the agent.
type side struct {
	policy  *policy.Store
	watcher *signals.Watcher // nil: the machine has no owner
	socket  net.Listener     // nil: it could not be opened
	server  *grpc.Server
	serving sync.WaitGroup

	folder *os.Root // the state folder; nil: attach was not called
	past   *owner.History
	page   *panel.Panel // nil: it could not be opened
	end    context.CancelFunc
}

// newSide opens the socket. Without it an agent goes on: whom nobody reports counts as being here.
func newSide(f runFlags, owned bool, pool *executor.Pool, log *slog.Logger) *side {
	s := &side{policy: policy.Open(policy.DefaultPaths(f.state))}
	if owned {
		s.watcher = signals.New(signals.Options{
			Root: f.root, Bus: f.bus, OwnCPU: pool.Used, Programs: s.policy.Exclusive, Log: log.With("component", "signals"),
		})
		s.watcher.Start()
	}
	var err error
	if s.socket, err = local.Listen(local.DefaultPath(f.state)); err != nil {
		s.socket = nil
		log.Warn("the people at this PC cannot reach the agent", "err", err)
		return s
	}
	s.server = local.NewServer(log)
	if s.watcher != nil {
		s.watcher.Register(s.server)
	}
	return s
}

// sees is what the agent needs to know of the owner.
func (s *side) sees(pool *executor.Pool) agent.Owner {
	o := agent.Owner{Policy: s.policy, Used: pool.Used}
	if s.watcher != nil {
		o.Signals, o.Working = s.watcher, s.watcher.Working
	}
	return o
}

// hooks return what hears of all that the history has.
func (s *side) hooks(a func() *agent.Agent) agent.Hooks {
	row := func(j records.Job) owner.Ran {
		return owner.Ran{Job: j.ID, Manifest: j.Manifest, Owner: a().Node().Store.Owner(j.Manifest.Submitter)}
	}
	return agent.Hooks{
		Ran: func(e agent.Ended) {
			ran := row(e.Job)
			ran.Units, ran.CPU, ran.Memory, ran.Out = 1, e.Times.CPU, int64(e.Memory), int64(e.Bytes)
			if e.Failure.Failed() {
				ran.Failed = 1
			}
			s.past.Ran(ran)
		},
		Moved: func(j records.Job, in, out int64) {
			ran := row(j)
			ran.In, ran.Out = in, out
			s.past.Ran(ran)
		},
		Over:   func(id jobs.JobID) { s.past.Ended(id) },
		Looked: func(who, what string) { s.past.Looked(who, what) },
	}
}

// attach lets the people at this PC ask the agent, and tell it what to do.
func (s *side) attach(a *agent.Agent, f runFlags, class peer.Class, pool *executor.Pool, log *slog.Logger) error {
	var err error
	if s.folder, err = os.OpenRoot(f.state); err != nil {
		return fmt.Errorf("open the state folder: %w", err)
	}
	if s.past, err = owner.OpenHistory(f.state, log); err != nil {
		return err
	}
	if s.socket == nil || a.Harvest() == nil {
		return nil
	}
	o := owner.New(owner.Options{
		Grid: gridName(a), Class: class, Cores: f.cores, Harvest: a.Harvest(), Work: a.AddWork, History: s.past, Yields: pool.Yielding,
		Metrics: a.MetricsAddress(),
	})
	url := func() string { return "" }
	if s.page, err = panel.New(panel.Options{Owner: o, State: s.folder, Log: log}); err != nil {
		log.Warn("there is no page for the people at this PC", "err", err)
	} else {
		url = s.page.URL
	}
	gridv1.RegisterOwnerServer(s.server, owner.NewServer(o, url))
	return nil
}

// gridName is what people can tell a grid by: where its coordinator is, and its root certificate.
func gridName(a *agent.Agent) string {
	root := jobs.DigestOf(a.Identity().Root).String()[:8]
	if c := a.Node().Grid().Coordinators; len(c) > 0 {
		return fmt.Sprintf("%s (root %s)", c[0], root)
	}
	return "root " + root
}

// serve answers at the socket, and shows the page, until close.
func (s *side) serve(log *slog.Logger) {
	if s.socket == nil {
		return
	}
	var ctx context.Context
	ctx, s.end = context.WithCancel(context.Background())
	s.serving.Go(func() {
		if err := s.server.Serve(s.socket); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			log.Warn("the people at this PC cannot reach the agent any more", "err", err)
		}
	})
	if s.page == nil {
		return
	}
	s.serving.Go(func() {
		if err := s.page.Run(ctx); err != nil {
			log.Warn("the page for the people at this PC has ended", "err", err)
		}
	})
}

// close ends it all.
func (s *side) close() error {
	if s.socket != nil {
		s.server.Stop()
		if s.end != nil {
			s.end()
		}
		s.serving.Wait()
		_ = s.socket.Close() // the server has closed it, if it served
	}
	if s.watcher != nil {
		s.watcher.Stop()
	}
	var err error
	if s.page != nil {
		err = s.page.Close()
	}
	if s.past != nil {
		err = errors.Join(err, s.past.Close())
	}
	if s.folder != nil {
		err = errors.Join(err, s.folder.Close())
	}
	return err
}
