package director

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/vappvault/vappvault/internal/sim/fault"
)

// cloudPageMax is the largest page that /cloudapi gives out (VMware Cloud
// Director OpenAPI, "pageSize": at most 128).
const cloudPageMax = 128

// list answers a call to /cloudapi that lists things: the page of them that
// page and pageSize ask for, of those that filter (FIQL) lets through, in the
// order of sortAsc or sortDesc. Each item marshals to a JSON object.
func (c *call) list(items []any) (*answer, error) {
	return c.listWhere(items, c.query("filter"))
}

// contexts are what conditions on _context of the filter name, and the filter
// without them: they say where something can be used, and are no field of it.
func (c *call) contexts() (of []string, rest string) {
	var keep []string
	for part := range strings.SplitSeq(c.query("filter"), ";") {
		name, value, _ := strings.Cut(strings.Trim(part, "()"), "==")
		if name != "_context" {
			keep = append(keep, part)
			continue
		}
		if plain, err := url.PathUnescape(value); err == nil && c.flag("filterEncoded") {
			value = plain
		}
		of = append(of, value)
	}
	return of, strings.Join(keep, ";")
}

// listWhere is list with another filter than the request's.
func (c *call) listWhere(items []any, raw string) (*answer, error) {
	p, err := c.cloudPage()
	if err != nil {
		return nil, err
	}
	rows, err := asRows(items)
	if err != nil {
		return nil, err
	}
	if raw != "" {
		match, err := parseFilter(raw, c.flag("filterEncoded"))
		if err != nil {
			return nil, err
		}
		rows = slices.DeleteFunc(rows, func(row map[string]any) bool { return !match(c, &record{attrs: flatten("", row)}) })
	}
	c.sortRows(rows)
	from, to := p.of(len(rows))
	total := len(rows)
	if h := fault.From(c.r); h != nil {
		total += h.Total
		to = max(from, to-h.Drop)
	}
	a := asJSON(map[string]any{
		"resultTotal": total, "pageCount": (len(rows) + p.size - 1) / p.size, "page": p.number, "pageSize": p.size,
		"associations": nil, "values": rows[from:to],
	})
	a.header = c.pageLinks(p, len(rows))
	return a, nil
}

// cloudPage is the page asked for. Unlike the query service, /cloudapi refuses
// a page size above its limit.
func (c *call) cloudPage() (page, error) {
	p := page{1, 25}
	for name, to := range map[string]*int{"page": &p.number, "pageSize": &p.size} {
		v := c.query(name)
		if v == "" {
			continue
		}
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || name == "pageSize" && n > cloudPageMax {
			return p, badRequest("The parameter %s=%q is not valid.", name, v)
		}
		*to = n
	}
	return p, nil
}

func asRows(items []any) ([]map[string]any, error) {
	rows := make([]map[string]any, 0, len(items))
	for _, it := range items {
		if row, is := it.(map[string]any); is {
			rows = append(rows, row)
			continue
		}
		b, err := json.Marshal(it)
		if err != nil {
			return nil, fmt.Errorf("list: %w", err)
		}
		var row map[string]any
		if err := json.Unmarshal(b, &row); err != nil {
			return nil, fmt.Errorf("list: %w", err)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func (c *call) sortRows(rows []map[string]any) {
	by, desc := c.query("sortAsc"), false
	if d := c.query("sortDesc"); d != "" {
		by, desc = d, true
	}
	if by == "" {
		return
	}
	slices.SortStableFunc(rows, func(a, b map[string]any) int {
		x, _ := (&record{attrs: flatten("", a)}).get(by)
		y, _ := (&record{attrs: flatten("", b)}).get(by)
		if desc {
			x, y = y, x
		}
		return cmp.Compare(strings.ToLower(x), strings.ToLower(y))
	})
}

// flatten lists the values of a JSON object by their dotted names, as filters
// name them: "orgRef.id".
func flatten(prefix string, row map[string]any) []string {
	var out []string
	for _, k := range keys(row) {
		switch v := row[k].(type) {
		case map[string]any:
			out = append(out, flatten(prefix+k+".", v)...)
		case nil, []any:
		default:
			out = append(out, prefix+k, fmt.Sprint(v))
		}
	}
	return out
}

// pageLinks is the Link header of a page (RFC 8288).
func (c *call) pageLinks(p page, total int) map[string]string {
	last := p.last(total)
	var links []string
	at := func(rel string, n int) {
		links = append(links, fmt.Sprintf(`<%s>;rel="%s";type="application/json"`, c.s.href(c.r.URL.Path+"?"+c.withPage(n, p.size)), rel))
	}
	if p.number > 1 {
		at("firstPage", 1)
		at("previousPage", p.number-1)
	}
	if p.number < last {
		at("nextPage", p.number+1)
		at("lastPage", last)
	}
	if links == nil {
		return nil
	}
	return map[string]string{http.CanonicalHeaderKey("Link"): strings.Join(links, ", ")}
}
