// Package web is the operators' page: jobs, the pool and what it harvested, for operators and, as far as it is theirs,
// for submitters. It is rendered here; with a script in the browser it is live and has charts, without one it says the
// same in words and tables.
//
// It promises: nobody sees anything without a link, which only the coordinator's Open call gives (`gridctl open`), which
// lets in once and for a few minutes, as who asked for it and with no more rights; a request whose Host is no name of
// the page is refused, so that no site's name can be pointed here; nothing is loaded from elsewhere, and nothing on the
// page changes the grid. Away from loopback it speaks TLS only. Logins, streams and connections are bounded, those of
// one person too.
//
// What it does not do: it keeps nothing on disk but the certificate that it makes, so that all log in again after a
// restart; and it names machines to operators only.
package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/netutil"

	"idlegrid/jobs"
)

const (
	// maxConnections bounds the browsers' connections, and maxHeader what a request says of itself, in bytes.
	maxConnections = 512
	maxHeader      = 16 << 10
	// maxForm bounds what a button sends, in bytes.
	maxForm = 4 << 10
	// endTimeout bounds how long pages under way may take at the end.
	endTimeout = time.Second
)

// Options say what a Page needs.
type Options struct {
	Settings
	State *os.Root   // the coordinator's state folder, which keeps the certificate that is made here
	Own   netip.Addr // where others reach the coordinator: the page's name where Address is of all interfaces
	Grid  Grid
	Log   *slog.Logger
}

// Page serves browsers. New opens it, Run serves, Close releases it.
type Page struct {
	o        Options
	log      *slog.Logger
	listener net.Listener
	names    names
	cert     certificate // its get is nil: plain HTTP
	logins   logins
	snapshot snapshot
	harvests harvests
	ended    context.Context // ends with Run, and with it the streams
	end      context.CancelFunc
}

// New listens.
func New(o Options) (*Page, error) {
	l, err := net.Listen("tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("listen for browsers: %w", err)
	}
	p := &Page{o: o, log: o.Log.With("component", "page"), listener: l, logins: newLogins()}
	p.harvests.by = map[jobs.KeyID]harvestAsOf{}
	p.ended, p.end = context.WithCancel(context.Background())
	if p.names, err = namesOf(o.Settings, l.Addr().(*net.TCPAddr).AddrPort(), o.Own); err == nil && p.names.tls {
		p.cert, err = p.openCertificate()
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	p.log.Info("there is a page for browsers", "url", p.names.base)
	return p, nil
}

// Run serves until ctx ends.
func (p *Page) Run(ctx context.Context) error {
	server := &http.Server{
		Handler: p.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	listener := netutil.LimitListener(p.listener, maxConnections)
	done := make(chan error, 1)
	go func() {
		if p.cert.get == nil {
			done <- server.Serve(listener)
			return
		}
		server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: p.cert.get}
		done <- server.ServeTLS(listener, "", "")
	}()
	select {
	case err := <-done:
		return fmt.Errorf("serve the page: %w", err)
	case <-ctx.Done():
	}
	p.end()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	err := server.Shutdown(ending)
	if err != nil {
		err = server.Close() // who still reads is cut off
	}
	if e := <-done; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// URL returns where the page is; it lets nobody in.
func (p *Page) URL() string { return p.names.base }

// Followed reports whether somebody looks at a page that is live.
func (p *Page) Followed() bool { return p.logins.followed() }

// Close stops listening where Run was never called. Twice is harmless.
func (p *Page) Close() error {
	p.end()
	if err := p.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
