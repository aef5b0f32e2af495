package rpc

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// conn is a place in a dialer's pool. It looks its connection up at each call, so that the pool may forget
// peers while others keep a conn to them.
type conn struct {
	dialer *Dialer
	target target
}

// Invoke implements grpc.ClientConnInterface.
func (c *conn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	p, err := c.dialer.pooled(c.target)
	if err != nil {
		return err
	}
	return c.explain(p, p.cc.Invoke(ctx, method, args, reply, opts...))
}

// NewStream implements grpc.ClientConnInterface.
func (c *conn) NewStream(
	ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	p, err := c.dialer.pooled(c.target)
	if err != nil {
		return nil, err
	}
	s, err := p.cc.NewStream(ctx, desc, method, opts...)
	if err != nil {
		return nil, c.explain(p, err)
	}
	return &stream{ClientStream: s, explain: func(err error) error { return c.explain(p, err) }}, nil
}

// explain turns a status into an error of package jobs. If there is no connection, it says why in the words
// of the dial rather than of gRPC.
func (c *conn) explain(p *pooled, err error) error {
	if status.Code(err) != codes.Unavailable {
		return FromStatus(err)
	}
	if last := p.last.Load(); last != nil {
		return *last
	}
	return FromStatus(err)
}

// stream translates the errors of a stream; io.EOF stays itself.
type stream struct {
	grpc.ClientStream
	explain func(error) error
}

// SendMsg implements grpc.ClientStream.
func (s *stream) SendMsg(m any) error { return s.explain(s.ClientStream.SendMsg(m)) }

// RecvMsg implements grpc.ClientStream.
func (s *stream) RecvMsg(m any) error { return s.explain(s.ClientStream.RecvMsg(m)) }

// CloseSend implements grpc.ClientStream.
func (s *stream) CloseSend() error { return s.explain(s.ClientStream.CloseSend()) }
