package main

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"

	"idlegrid/agent"
	"idlegrid/agent/executor"
	"idlegrid/agent/internal/harvest/policy"
	"idlegrid/agent/internal/harvest/signals"
	"idlegrid/agent/internal/local"
)

// side is the agent's side towards the people at this PC: what sees them, and the socket at which their programs reach
// the agent.
type side struct {
	policy  *policy.Store
	watcher *signals.Watcher // nil: the machine has no owner
	socket  net.Listener     // nil: it could not be opened
	server  *grpc.Server
	serving sync.WaitGroup
	busy    atomic.Bool // units run, or are frozen
}

// newSide opens the socket. Without it an agent goes on: whom nobody reports counts as being here.
func newSide(f runFlags, owned bool, pool *executor.Pool, log *slog.Logger) *side {
	s := &side{policy: policy.Open(policy.DefaultPaths(f.state))}
	if owned {
		s.watcher = signals.New(signals.Options{
			Root: f.root, Bus: f.bus, Active: s.busy.Load, OwnCPU: pool.Used, Programs: s.policy.Exclusive, Log: log.With("component", "signals"),
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

// serve answers at the socket until close.
func (s *side) serve(log *slog.Logger) {
	if s.socket == nil {
		return
	}
	s.serving.Go(func() {
		if err := s.server.Serve(s.socket); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			log.Warn("the people at this PC cannot reach the agent any more", "err", err)
		}
	})
}

// close ends it all.
func (s *side) close() {
	if s.socket != nil {
		s.server.Stop()
		s.serving.Wait()
		_ = s.socket.Close() // the server has closed it, if it served
	}
	if s.watcher != nil {
		s.watcher.Stop()
	}
}

// owner is what the agent needs to know of it.
func (s *side) owner(pool *executor.Pool) agent.Owner {
	o := agent.Owner{Policy: s.policy, Used: pool.Used, Working: s.busy.Store}
	if s.watcher != nil {
		o.Signals = s.watcher
	}
	return o
}
