package ctl

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
)

const (
	// askTimeout bounds one question to one peer, and each wait for the next part of a long answer.
	askTimeout = 5 * time.Second
	// hastyTimeout is askTimeout for a peer that did not answer the last question.
	hastyTimeout = time.Second
	// pullTimeout bounds the fetching of a shard's records from one peer.
	pullTimeout = 2 * time.Minute
	// hedgeAfter is how long an answer is waited for before another peer is asked as well.
	hedgeAfter = time.Second
)

// question is put to several peers, by their index.
type question struct {
	enough int           // answers that are wanted
	hedge  time.Duration // wait before another peer is asked as well
	ask    func(ctx context.Context, i int) error
}

// of asks as many of n peers at once as answers are wanted, and the next one whenever one failed or hedge has
// passed, so that peers that hang cost little time. It returns how many answered once that is enough or all
// were asked; what is still under way is broken off and waited for. With no answer the error says why.
func (q question) of(ctx context.Context, n int) (answers int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, n)
	asked, running := 0, 0
	next := func() {
		if i := asked; i < n {
			asked, running = asked+1, running+1
			go func() { done <- q.ask(ctx, i) }()
		}
	}
	for range q.enough {
		next()
	}
	hedge := time.NewTicker(q.hedge)
	defer hedge.Stop()
	for answers < q.enough && running > 0 {
		select {
		case e := <-done:
			running--
			if e == nil {
				answers++
				continue
			}
			err = e
			next()
		case <-hedge.C:
			next()
		}
	}
	cancel()
	for range running {
		if <-done == nil {
			answers++ // just in time
		}
	}
	if answers > 0 {
		err = nil
	}
	return answers, err
}

// silence remembers the peers that did not answer in time. Its zero value knows of none.
type silence struct {
	mu     sync.Mutex // guards silent
	silent map[jobs.AgentID]bool
}

// patience returns how long an answer of a peer is waited for.
func (s *silence) patience(id jobs.AgentID) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.silent[id] {
		return hastyTimeout
	}
	return askTimeout
}

func (s *silence) note(id jobs.AgentID, silent bool) {
	if id.IsZero() {
		return // an address that anybody may answer at
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.silent == nil {
		s.silent = map[jobs.AgentID]bool{}
	}
	s.silent[id] = silent
}

// call makes one call to a peer, for a bounded time.
func (g *grid) call(ctx context.Context, m peer.Member, f func(context.Context, grpc.ClientConnInterface) error) error {
	conn, err := g.dialer.Conn(m.Address, m.ID)
	if err != nil {
		return err
	}
	within, cancel := context.WithTimeoutCause(ctx, g.silence.patience(m.ID), errSilent(m))
	defer cancel()
	if err = f(within, conn); err != nil && ctx.Err() != nil {
		return err // broken off: that says nothing of the peer
	}
	silent := err != nil && within.Err() != nil
	g.silence.note(m.ID, silent)
	if silent {
		return context.Cause(within)
	}
	return err
}

func errSilent(m peer.Member) error {
	return jobs.Errorf(jobs.Unavailable, "%s does not answer", m.Address)
}

// impatient is a connection whose streams end when nothing comes for a while: a peer may take its time for a
// long answer, but not hang.
type impatient struct {
	grpc.ClientConnInterface
	wait time.Duration
	err  error // the cause with which a stream ends
}

// NewStream implements grpc.ClientConnInterface.
func (c impatient) NewStream(
	ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(c.wait, func() { cancel(c.err) })
	s, err := c.ClientConnInterface.NewStream(ctx, desc, method, opts...)
	if err != nil {
		err = causeOf(ctx, err)
		timer.Stop()
		cancel(err)
		return nil, err
	}
	return &impatientStream{ClientStream: s, wait: c.wait, timer: timer, cancel: cancel}, nil
}

type impatientStream struct {
	grpc.ClientStream
	wait   time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

// RecvMsg implements grpc.ClientStream. After an error, such as the stream's end, the stream is done with.
func (s *impatientStream) RecvMsg(m any) error {
	s.timer.Reset(s.wait)
	err := s.ClientStream.RecvMsg(m)
	s.timer.Stop()
	if err != nil {
		err = causeOf(s.Context(), err)
		s.cancel(err)
	}
	return err
}

// causeOf returns why ctx was ended, or err if it was not.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}
