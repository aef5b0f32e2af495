package ctl

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"idlegrid/agent/peer/durable"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/node"
	"idlegrid/jobs"
)

const (
	// defaultContext is the login of a person who has one. It lies in the folder itself, where versions that
	// knew no contexts kept it; the others have a folder each in contextsFolder.
	defaultContext = "default"
	contextsFolder = "contexts"
	// currentFile has the name of the context that is used if nobody says.
	currentFile = "context"
)

// logins is the folder with a person's logins.
type logins struct {
	dir     string
	current string // name of the context in use
	from    string // file that names it, or "" if a flag, a variable or the default does
}

// openLogins finds the folder, and which context is meant: by flag, by variable (see settle), or by the file.
func (a *app) openLogins() (*logins, error) {
	l := &logins{dir: a.config, current: a.context}
	if l.dir == "" {
		dir, err := os.UserConfigDir()
		if err != nil {
			return nil, jobs.WithHint(fmt.Errorf("find the folder for gridctl's logins: %w", err), "set %s", configVariable)
		}
		l.dir = filepath.Join(dir, "gridctl")
	}
	if l.current == "" {
		name := filepath.Join(l.dir, currentFile)
		text, err := os.ReadFile(name) // what `context use` wrote for this person
		if err == nil {
			l.from = name
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("find the current context: %w", err)
		}
		l.current = cmp.Or(strings.TrimSpace(string(text)), defaultContext)
	}
	return l, nil
}

// contextNames are those that every system takes for a folder, and that no shell takes apart.
var contextNames = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)

// checkCurrent reports a context in use that cannot be one, and where that name stands.
func (l *logins) checkCurrent() error {
	err := checkContextName(l.current)
	if err != nil && l.from != "" {
		return jobs.WithHint(fmt.Errorf("%s: %w", l.from, err), "gridctl context use NAME")
	}
	return err
}

func checkContextName(name string) error {
	if contextNames.MatchString(name) && filepath.IsLocal(name) {
		return nil
	}
	return jobs.WithHint(jobs.Errorf(jobs.Invalid, "%q is no name for a context", clip(name)),
		"a name has at most 40 lower-case letters, digits and hyphens, with a letter or digit at both ends")
}

// folder returns where a context's key and certificate are.
func (l *logins) folder(name string) string {
	if name == defaultContext {
		return l.dir
	}
	return filepath.Join(l.dir, contextsFolder, name)
}

// list returns the contexts in which somebody logged in, in the order of their names.
func (l *logins) list() ([]contextView, error) {
	names := []string{defaultContext}
	entries, err := os.ReadDir(filepath.Join(l.dir, contextsFolder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the contexts: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() && checkContextName(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	all := []contextView{}
	for _, name := range names {
		if v, ok := l.view(name); ok {
			all = append(all, v)
		}
	}
	return all, nil
}

// contextView is a context as -o json has it.
type contextView struct {
	Name         string    `json:"name"`
	Current      bool      `json:"current"`
	Role         string    `json:"role"`
	ID           string    `json:"id"`
	Owner        string    `json:"owner"`
	Grid         string    `json:"grid"`
	Coordinators []string  `json:"coordinators"`
	Ends         time.Time `json:"certificate_ends"`
	Folder       string    `json:"folder"`
	Problem      string    `json:"problem,omitempty"` // why it cannot be used
}

// view looks at a context; false: nobody is logged in there.
func (l *logins) view(name string) (contextView, bool) {
	v := contextView{Name: name, Current: name == l.current, Folder: l.folder(name), Coordinators: []string{}}
	dir, err := os.OpenRoot(v.Folder)
	if err != nil {
		v.Problem = err.Error()
		return v, !errors.Is(err, fs.ErrNotExist)
	}
	defer dir.Close() // Nothing is written.
	id, err := identity.Load(dir)
	if err != nil {
		v.Problem = err.Error()
		return v, jobs.KindOf(err) != jobs.NotFound
	}
	who := id.Caller()
	v.Role, v.ID, v.Owner, v.Ends, v.Grid = who.Role.String(), who.ID.String(), who.Owner, who.NotAfter, identity.GridID(id.Root)
	known, err := node.LoadGrid(dir)
	if err != nil {
		v.Problem = err.Error()
		return v, true
	}
	v.Coordinators = append(v.Coordinators, known.Coordinators...)
	return v, true
}

// find returns a context that is there.
func (l *logins) find(name string) (contextView, error) {
	if err := checkContextName(name); err != nil {
		return contextView{}, err
	}
	if v, ok := l.view(name); ok {
		return v, nil
	}
	err := jobs.Errorf(jobs.NotFound, "there is no context %q", name)
	all, listErr := l.list()
	if listErr != nil {
		return contextView{}, errors.Join(err, listErr)
	}
	var names []string
	for _, v := range all {
		names = append(names, v.Name)
	}
	switch near := suggest(name, names); {
	case len(near) > 0:
		return contextView{}, jobs.WithHint(err, "did you mean %s?", either(near))
	case len(names) > 0:
		return contextView{}, jobs.WithHint(err, "there is %s; `gridctl login TOKEN --context %s` makes another", strings.Join(names, ", "), name)
	}
	return contextView{}, jobs.WithHint(err, "run `gridctl login TOKEN --context %s` with the token that the operator gave you", name)
}

// notLoggedIn explains why the context in use cannot be.
func (l *logins) notLoggedIn(cause error) error {
	if _, err := l.find(l.current); err != nil && l.current != defaultContext {
		return err
	}
	err := jobs.Errorf(jobs.NotFound, "not logged in to a grid: %w", cause)
	if all, listErr := l.list(); listErr == nil && len(all) > 0 {
		return jobs.WithHint(err, "`gridctl context use %s` uses a login that you have", all[0].Name)
	}
	return jobs.WithHint(err, "run `gridctl login TOKEN` with the token that the operator gave you")
}

// use makes a context the current one.
func (l *logins) use(name string) error {
	dir, err := os.OpenRoot(l.dir)
	if err != nil {
		return fmt.Errorf("open the folder with gridctl's logins: %w", err)
	}
	return errors.Join(durable.WriteFile(dir, currentFile, []byte(name+"\n"), 0o600), dir.Close())
}

// remove forgets a login. Of the folder itself only what a login wrote goes: it may be any folder.
func (l *logins) remove(name string) error {
	if name != defaultContext {
		return os.RemoveAll(l.folder(name))
	}
	dir, err := os.OpenRoot(l.dir)
	if err != nil {
		return err
	}
	return errors.Join(node.Forget(dir), dir.Close())
}
