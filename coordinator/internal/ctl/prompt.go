package ctl

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
)

// mayAsk reports whether there is a person to ask: both ends are a terminal.
func (a *app) mayAsk() bool {
	in, ok := a.stdin.(*os.File)
	return ok && term.IsTerminal(int(in.Fd())) && isTerminal(a.stderr)
}

// ask asks a person who is at a terminal to say yes; without one the answer is unasked.
func (a *app) ask(ctx context.Context, question string, unasked bool) (bool, error) {
	if !a.mayAsk() {
		return unasked, nil
	}
	if _, err := fmt.Fprintf(a.stderr, "%s [y/N] ", question); err != nil {
		return false, fmt.Errorf("ask: %w", err)
	}
	answer := make(chan string, 1)
	// Nothing ends the reading of a terminal: after an interrupt it goes on until the process has ended.
	go func() {
		line, _ := bufio.NewReader(a.stdin).ReadString('\n') // no line is no yes
		answer <- line
	}()
	select {
	case line := <-answer:
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return true, nil
		}
		return false, nil
	case <-ctx.Done():
		a.say("") // the line of the question
		return false, context.Cause(ctx)
	}
}
