package web

import (
	"net/url"
	"strconv"
)

// pager is the place of a page among others of one list.
type pager struct {
	Noun       string // for one of the list
	Matches    int
	Page       int // from 1
	Pages      int
	Prev, Next string // addresses; empty: there is none
}

// page chooses a page of so many rows, as the query has it, and returns from which to which. Keep is what of the query
// other pages have too.
func (p *pager) page(matches, rows int, query url.Values, path string, keep map[string]string) (from, to int) {
	p.Matches, p.Pages = matches, max(1, (matches+rows-1)/rows)
	n, err := strconv.Atoi(query.Get("page"))
	if err != nil {
		n = 1
	}
	p.Page = min(max(n, 1), p.Pages)
	if p.Page > 1 {
		p.Prev = address(path, keep, p.Page-1)
	}
	if p.Page < p.Pages {
		p.Next = address(path, keep, p.Page+1)
	}
	from = (p.Page - 1) * rows
	return from, min(from+rows, matches)
}

// address returns the address of a list, with what is not empty of keep.
func address(path string, keep map[string]string, page int) string {
	q := url.Values{}
	for key, value := range keep {
		if value != "" {
			q.Set(key, value)
		}
	}
	if page > 1 {
		q.Set("page", strconv.Itoa(page))
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}
