package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"strings"
	"sync"
	"time"

	"idlegrid/agent/program"
	"idlegrid/jobs"
)

//go:embed templates
var templates embed.FS

// version is of all static files together, so that browsers keep them as long as they are the same.
var version = sync.OnceValue(func() string {
	sum := sha256.New()
	err := fs.WalkDir(static, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := static.ReadFile(path)
		sum.Write(text)
		return err
	})
	if err != nil {
		panic(err) // it is part of the program
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
})

// pages are the templates by name: each is the frame with a main part of its own.
var pages = sync.OnceValue(func() map[string]*template.Template {
	frame := template.Must(template.New("frame.html").Funcs(template.FuncMap{
		"version":  version,
		"when":     func(t time.Time) string { return t.Local().Format("2 Jan 2006 15:04") },
		"stamp":    func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"lead":     lead,
		"ago":      func(t, now time.Time) string { return program.For(max(0, now.Sub(t))) },
		"cpu":      cpu,
		"bytes":    program.Bytes,
		"short":    func(id jobs.JobID) string { return id.Short() },
		"count":    counted,
		"number":   number,
		"hours":    cpuHours,
		"percent":  percent,
		"day":      func(t time.Time) string { return t.Format("Mon 2 Jan") },
		"number64": func(n int) string { return number(uint64(max(0, n))) },
	}).ParseFS(templates, "templates/frame.html"))
	all := map[string]*template.Template{}
	for _, name := range []string{"jobs", "job", "pool", "machine", "harvest", "message"} {
		all[name] = template.Must(template.Must(frame.Clone()).ParseFS(templates, "templates/"+name+".html"))
	}
	return all
})

// cpu is CPU time for people.
func cpu(d time.Duration) string {
	if d > 0 && d < 10*time.Second {
		return d.Round(10 * time.Millisecond).String()
	}
	return program.For(d)
}

// counted is a number with its noun.
func counted(n any, noun string) (string, error) {
	var count uint64
	switch n := n.(type) {
	case int:
		count = uint64(max(0, n))
	case uint32:
		count = uint64(n)
	case uint64:
		count = n
	default:
		return "", fmt.Errorf("%T is no count", n)
	}
	_, noun, _ = strings.Cut(program.Count(count, noun), " ")
	return number(count) + " " + noun, nil
}

// number is a number with spaces between its thousands.
func number(n uint64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "\u202f" + text[i:]
	}
	return text
}

// lead says how far a clock is ahead of others'.
func lead(d time.Duration) string {
	switch d = d.Round(100 * time.Millisecond); {
	case d > 0:
		return d.String() + " ahead of others"
	case d < 0:
		return (-d).String() + " behind others"
	}
	return "in step with others"
}
