package simnet

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"
)

// window is how much of a stream may be on its way or wait to be read; a writer waits for more.
const window = 64 << 10

// pipe is one direction of a stream.
type pipe struct {
	from, to *Host
	back     *pipe // the other direction

	*state                // guards everything below
	flight        []piece // sent, in order, not there yet
	ready         []byte  // there, not read
	size          int     // bytes in flight and ready
	ended         bool    // the reader has all that ever comes
	writerClosed  bool
	readerClosed  bool
	refused       bool // something came after the reader had gone, and word of it went back
	reset         bool // that word reached the writer
	retrying      bool // the way is cut, and arrive will look again
	readDeadline  time.Time
	writeDeadline time.Time
}

// piece is what one Write sent, the end of the stream, or word that the other direction has no reader any more.
type piece struct {
	data  []byte
	end   bool
	reset bool
	due   time.Time
}

// read returns what is there.
func (p *pipe) read(b []byte) (int, error) {
	p.Lock()
	defer p.Unlock()
	for {
		switch {
		case p.readerClosed:
			return 0, net.ErrClosed
		case past(p.readDeadline):
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		case len(p.ready) > 0:
			n := copy(b, p.ready)
			p.ready = p.ready[n:]
			p.size -= n
			p.broadcast()
			return n, nil
		case p.ended:
			return 0, io.EOF
		}
		if err := p.wait(p.readDeadline); err != nil {
			return 0, err
		}
	}
}

// write sends b piece by piece as the window opens.
func (p *pipe) write(b []byte) (int, error) {
	p.Lock()
	defer p.Unlock()
	sent := 0
	for {
		switch {
		case p.writerClosed:
			return sent, net.ErrClosed
		case past(p.writeDeadline):
			return sent, os.ErrDeadlineExceeded
		case p.reset:
			return sent, syscall.EPIPE
		case sent == len(b):
			return sent, nil
		}
		if n := min(window-p.size, len(b)-sent); n > 0 {
			p.send(piece{data: slices.Clone(b[sent : sent+n])})
			sent += n
			continue
		}
		if err := p.wait(p.writeDeadline); err != nil {
			return sent, err
		}
	}
}

// send puts a piece on its way. The lock is held.
func (p *pipe) send(x piece) {
	d := p.from.net.delay(p.from.ip, p.to.ip)
	x.due = time.Now().Add(d)
	p.flight = append(p.flight, x)
	p.size += len(x.data)
	p.from.sent.Add(int64(len(x.data)))
	time.AfterFunc(d, p.arrive)
}

// arrive takes in what is due, in order. Where the way is cut it tries again until one end gives up.
func (p *pipe) arrive() {
	refused, reset := p.takeIn(p.from.net.connected(p.from, p.to))
	if refused {
		p.back.refuse()
	}
	if reset {
		p.back.Lock()
		p.back.reset = true
		p.back.broadcast()
		p.back.Unlock()
	}
}

// takeIn is arrive for this direction. It reports what the other one has to hear of: that nobody reads here any more,
// and that nobody reads there.
func (p *pipe) takeIn(connected bool) (refused, reset bool) {
	p.Lock()
	defer p.Unlock()
	if !connected {
		if wanted := !p.writerClosed || !p.readerClosed; wanted && !p.retrying && !p.from.isDown() && !p.to.isDown() {
			p.retrying = true
			time.AfterFunc(retry, p.retry)
		}
		return false, false
	}
	now := time.Now()
	for len(p.flight) > 0 && !p.flight[0].due.After(now) {
		x := p.flight[0]
		p.flight = p.flight[1:]
		p.ended = p.ended || x.end
		reset = reset || x.reset
		p.ready = append(p.ready, x.data...)
	}
	p.broadcast()
	return p.unwanted(), reset
}

// unwanted reports, once, that something came after the reader had gone. The lock is held.
func (p *pipe) unwanted() bool {
	if p.refused || !p.readerClosed || len(p.ready) == 0 {
		return false
	}
	p.refused = true
	return true
}

// refuse tells the other end that what it writes is not read. As in TCP the word takes the way back, behind the end of
// the stream: an end whose writes fail while its reads wait does not exist there, and those who meet it may spin.
func (p *pipe) refuse() {
	p.Lock()
	defer p.Unlock()
	p.send(piece{reset: true})
}

// retry is the one arrival of a cut pipe that tries again, for all that is on its way.
func (p *pipe) retry() {
	p.Lock()
	p.retrying = false
	p.Unlock()
	p.arrive()
}

func (p *pipe) closeWriter() {
	p.Lock()
	defer p.Unlock()
	if !p.writerClosed {
		p.writerClosed = true
		p.send(piece{end: true})
		p.broadcast()
	}
}

func (p *pipe) closeReader() {
	p.Lock()
	p.readerClosed = true
	p.broadcast()
	unwanted := p.unwanted()
	p.Unlock()
	if unwanted {
		p.back.refuse()
	}
}

// conn is one end of a stream.
type conn struct {
	host          *Host
	local, remote netip.AddrPort
	in, out       *pipe
}

func newConns(a, b *Host, from, to netip.AddrPort) (near, far *conn) {
	there := &pipe{from: a, to: b, state: newState()}
	back := &pipe{from: b, to: a, state: newState(), back: there}
	there.back = back
	return &conn{host: a, local: from, remote: to, in: back, out: there},
		&conn{host: b, local: to, remote: from, in: there, out: back}
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.in.read(b)
	return n, c.wrap("read", err)
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.out.write(b)
	return n, c.wrap("write", err)
}

// Close ends both directions; what was written still arrives.
func (c *conn) Close() error {
	c.host.forget(c)
	c.out.closeWriter()
	c.in.closeReader()
	return nil
}

// CloseWrite tells the other end that nothing more comes.
func (c *conn) CloseWrite() error {
	c.out.closeWriter()
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(c.local) }
func (c *conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

func (c *conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t) // neither fails
	return c.SetWriteDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.Lock()
	defer c.in.Unlock()
	c.in.readDeadline = t
	c.in.broadcast()
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.Lock()
	defer c.out.Unlock()
	c.out.writeDeadline = t
	c.out.broadcast()
	return nil
}

// wrap dresses errors as the net package does; io.EOF stays bare.
func (c *conn) wrap(op string, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}
