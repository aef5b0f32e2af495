package web

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"sync"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/rpc"
	"idlegrid/agent/program"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// ticketLife is how long a link lets in, and sessionLife how long a browser stays in.
	ticketLife  = 5 * time.Minute
	sessionLife = 12 * time.Hour
	// maxTickets and maxSessions bound how many there are, and maxEach those of one person: of these the oldest goes.
	maxTickets  = 256
	maxSessions = 1024
	maxEach     = 8
	// maxStreams bounds the pages that are live, and maxLive those of one browser.
	maxStreams = 128
	maxLive    = 12
)

// login is a link that nobody has used yet, or a browser that was let in.
type login struct {
	who  identity.Caller
	name string     // of who, for people
	job  jobs.JobID // to begin with; zero: the list
	form string     // the word in every form
	made time.Time
	ends time.Time

	live int // streams; guarded by logins.mu
}

func (l *login) operator() bool { return l.who.Role == peer.Operator }

// may reports whether a job is for these eyes.
func (l *login) may(submitter jobs.KeyID) bool { return l.operator() || l.who.ID == submitter }

// logins are kept by the digests of their secrets, so that looking one up tells nothing of it by its time.
type logins struct {
	mu       sync.Mutex // guards everything below
	tickets  map[[sha256.Size]byte]*login
	sessions map[[sha256.Size]byte]*login
	streams  int
}

func newLogins() logins {
	return logins{tickets: map[[sha256.Size]byte]*login{}, sessions: map[[sha256.Size]byte]*login{}}
}

func keyOf(secret string) [sha256.Size]byte { return sha256.Sum256([]byte(secret)) }

// put adds a login and returns its secret.
func put(to map[[sha256.Size]byte]*login, most int, l *login, now time.Time) (string, error) {
	var oldest [sha256.Size]byte
	mine := 0
	for key, o := range to {
		switch {
		case now.After(o.ends):
			delete(to, key)
		case o.who.ID == l.who.ID:
			if mine++; mine == 1 || o.made.Before(to[oldest].made) {
				oldest = key
			}
		}
	}
	if mine >= maxEach {
		delete(to, oldest)
	}
	if len(to) >= most {
		return "", jobs.Errorf(jobs.Exhausted, "%d people are logged in at the page, or about to be", most)
	}
	secret := rand.Text()
	to[keyOf(secret)] = l
	return secret, nil
}

// ticket makes a link's secret.
func (s *logins) ticket(who identity.Caller, job jobs.JobID, now time.Time) (secret string, ends time.Time, err error) {
	l := &login{who: who, name: nameOf(who), job: job, made: now, ends: now.Add(ticketLife)}
	s.mu.Lock()
	defer s.mu.Unlock()
	secret, err = put(s.tickets, maxTickets, l, now)
	return secret, l.ends, err
}

// redeem turns a link's secret into a browser's, once.
func (s *logins) redeem(ticket string, now time.Time) (secret string, l *login, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := keyOf(ticket)
	t := s.tickets[key]
	delete(s.tickets, key)
	if t == nil || now.After(t.ends) {
		return "", nil, jobs.Errorf(jobs.Denied, "this link was used already, or is older than five minutes")
	}
	l = &login{who: t.who, name: t.name, job: t.job, form: rand.Text(), made: now, ends: now.Add(sessionLife)}
	if l.who.NotAfter.Before(l.ends) {
		l.ends = l.who.NotAfter
	}
	secret, err = put(s.sessions, maxSessions, l, now)
	return secret, l, err
}

// session returns who a browser was let in as, or nil.
func (s *logins) session(secret string, now time.Time) *login {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.sessions[keyOf(secret)]; l != nil && !now.After(l.ends) {
		return l
	}
	return nil
}

func (s *logins) leave(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, keyOf(secret))
}

// enter counts a stream; there may be no room for it.
func (s *logins) enter(l *login) (leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams >= maxStreams || l.live >= maxLive {
		return nil, false
	}
	s.streams, l.live = s.streams+1, l.live+1
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.streams, l.live = s.streams-1, l.live-1
	}, true
}

func (s *logins) followed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams > 0
}

// nameOf is how people know a caller.
func nameOf(c identity.Caller) string {
	if c.Owner == c.ID.String() { // it was given none
		return program.OwnerOr("", c.ID.String())
	}
	return program.OwnerOr(c.Owner, c.ID.String())
}

// Service answers Page calls.
type Service struct {
	gridv1.UnimplementedPageServer
	Page *Page // nil: there is none
}

// Open gives a link.
func (s *Service) Open(ctx context.Context, req *gridv1.OpenRequest) (*gridv1.OpenReply, error) {
	who, err := rpc.Allow(ctx, gridv1.Page_Open_FullMethodName)
	if err != nil {
		return nil, err
	}
	if s.Page == nil {
		return nil, jobs.WithHint(jobs.Errorf(jobs.Unsupported, "this coordinator has no page for browsers"),
			"whoever runs it starts it with such as `gridcoordinator run --page 127.0.0.1:7746`; `gridctl top` shows the same in a terminal")
	}
	return s.Page.open(who, req)
}

func (p *Page) open(who identity.Caller, req *gridv1.OpenRequest) (*gridv1.OpenReply, error) {
	var id jobs.JobID
	if len(req.GetJob()) > 0 {
		var err error
		if id, err = jobs.JobIDFromBytes(req.GetJob()); err != nil {
			return nil, err
		}
		if j, err := p.o.Grid.Job(id); err != nil || who.Role != peer.Operator && j.Submitter != who.ID {
			return nil, jobs.Errorf(jobs.NotFound, "no live job %s of yours is known here", id.Short())
		}
	}
	ticket, ends, err := p.logins.ticket(who, id, time.Now())
	if err != nil {
		return nil, err
	}
	p.log.Info("a link to the page was given", "to", who.ID, "role", who.Role)
	reply := &gridv1.OpenReply{Url: p.names.base + "/enter?ticket=" + ticket, EndsMs: ends.UnixMilli()}
	if p.cert.own {
		c, err := p.cert.get(nil)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(c.Leaf.Raw)
		reply.Certificate = sum[:]
	}
	return reply, nil
}

// cookieName is of this port alone: cookies do not know ports, and other programs on the machine may have theirs.
func (p *Page) cookieName() string {
	if p.names.secure {
		return "__Host-idlegrid_" + p.port()
	}
	return "idlegrid_" + p.port()
}

func (p *Page) setCookie(w http.ResponseWriter, value string, ends time.Time) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // On loopback there is no TLS that Secure could ask for.
		Name: p.cookieName(), Value: value, Path: "/", Expires: ends, HttpOnly: true, Secure: p.names.secure, SameSite: http.SameSiteStrictMode,
	})
}

// enter turns a link into a cookie, so that the secret stays in no address.
func (p *Page) enter(w http.ResponseWriter, r *http.Request) {
	secret, l, err := p.logins.redeem(r.URL.Query().Get("ticket"), time.Now())
	if err != nil {
		p.refuse(w, http.StatusForbidden, sentence(err)+" "+closed)
		return
	}
	p.setCookie(w, secret, l.ends)
	p.log.Info("a browser was let in", "as", l.who.ID, "role", l.who.Role)
	to := "/jobs"
	if !l.job.IsZero() {
		to += "/" + l.job.String()
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// in returns who a request comes from, or nil.
func (p *Page) in(r *http.Request) *login {
	c, err := r.Cookie(p.cookieName())
	if err != nil {
		return nil
	}
	return p.logins.session(c.Value, time.Now())
}

// leave ends a browser's session.
func (p *Page) leave(w http.ResponseWriter, r *http.Request, _ *login) {
	if c, err := r.Cookie(p.cookieName()); err == nil {
		p.logins.leave(c.Value)
	}
	p.setCookie(w, "", time.Unix(1, 0))
	p.refuse(w, http.StatusOK, "You are logged out. "+closed)
}
