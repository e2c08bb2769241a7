package director

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vappvault/vappvault/internal/sim/fault"
)

// A record is one row of a query's answer.
type record struct {
	tag   string
	attrs []string // pairs; an empty value is left out
	meta  metadata
	fill  func(*record) // makes attrs when they are first wanted; nil when they are there
	load  func(*record) // fills in what comes from vCenter; nil when nothing does
	call  *call         // that they are made for
	vm    *vm
	vapp  *vapp
}

// full makes the attributes. A page of ten thousand vApps shows few of them.
func (r *record) full() *record {
	if f := r.fill; f != nil {
		r.fill = nil
		f(r)
	}
	return r
}

func (r *record) get(name string) (string, bool) {
	if name == "name" && r.fill != nil {
		// Most filters and orders ask for no more.
		switch {
		case r.vm != nil:
			return r.vm.name, true
		case r.vapp != nil:
			return r.vapp.name, true
		}
	}
	r.full()
	for i := 0; i+1 < len(r.attrs); i += 2 {
		if r.attrs[i] == name {
			return r.attrs[i+1], true
		}
	}
	return "", false
}

// A recordType is what a query type answers.
type recordType struct {
	admin    bool // refused to tenants
	orgAdmin bool // refused to those who do not administer their organization
	list     func(c *call) []*record
	slow     []string // attributes that come from vCenter
}

// open says whether the caller may ask for a type of records at all (the
// reference's pages of queries: "Visible To").
func (t recordType) open(c *call) bool {
	return c.provider() || !t.admin && (!t.orgAdmin || c.orgAdmin(c.login.org.id))
}

// recordTypes are the types by their names, those of each area together.
func recordTypes() map[string]recordType {
	all := map[string]recordType{}
	for _, area := range []map[string]recordType{coreRecords(), netRecords(), catalogRecords(), adminRecords(), vmAreaRecords(), estateRecords(), restRecords()} {
		maps.Copy(all, area)
	}
	return all
}

func coreRecords() map[string]recordType {
	slow := []string{"status", "guestOs", "numberOfCpus", "memoryMB", "hardwareVersion", "hostName", "datastoreName", "isDeleted", "ipAddress", "vmNameInVc"}
	return map[string]recordType{
		"vApp":                      {list: (*call).vappRecords, slow: []string{"status"}},
		"adminVApp":                 {list: (*call).vappRecords, slow: []string{"status", "cpuAllocationMhz", "memoryAllocationMB", "storageKB"}, admin: true},
		"vm":                        {list: (*call).vmRecords, slow: slow},
		"adminVM":                   {list: (*call).vmRecords, slow: slow, admin: true},
		"orgVdc":                    {list: (*call).vdcRecords},
		"adminOrgVdc":               {list: (*call).vdcRecords, admin: true},
		"organization":              {list: (*call).orgRecords, orgAdmin: true},
		"user":                      {list: (*call).userRecords},
		"adminUser":                 {list: (*call).userRecords, admin: true},
		"orgVdcStorageProfile":      {list: (*call).profileRecords},
		"adminOrgVdcStorageProfile": {list: (*call).profileRecords, admin: true},
		"task":                      {list: (*call).taskRecords},
		"adminTask":                 {list: (*call).taskRecords, admin: true},
		"virtualCenter":             {list: (*call).vcenterRecords, admin: true},
		"datastore":                 {list: (*call).datastoreRecords, admin: true},
	}
}

// runQuery is the query service.
func (c *call) runQuery() (*answer, error) {
	typ := c.query("type")
	if typ == "" {
		return c.queryList()
	}
	return c.queryType(typ)
}

// queryList names the types there are.
func (c *call) queryList() (*answer, error) {
	d := el("QueryList", "href", c.s.href("/api/query"), "type", mediaVCloud+"query.queryList+xml")
	for _, name := range keys(recordTypes()) {
		if recordTypes()[name].open(c) {
			for _, format := range formats(name) {
				add(d, el("Link", "rel", "down", "href", c.s.href("/api/query?type="+name+"&format="+format), "name", name,
					"type", mediaVCloud+"query."+format+"+xml"))
			}
		}
	}
	return ok(mediaVCloud+"query.queryList", d), nil
}

// A page is the part of a result that was asked for.
type page struct{ number, size int }

func (c *call) page() (page, error) {
	p := page{1, 25}
	for name, to := range map[string]*int{"page": &p.number, "pageSize": &p.size} {
		v := c.query(name)
		if v == "" {
			continue
		}
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			return p, badRequest("The parameter %s must be a positive number, not %q.", name, v)
		}
		*to = n
	}
	p.size = min(p.size, c.s.cfg.PageSizeMax)
	return p, nil
}

// of is the window of a page over total records.
func (p page) of(total int) (from, to int) {
	return min((p.number-1)*p.size, total), min(p.number*p.size, total)
}

func (p page) last(total int) int { return max(1, (total+p.size-1)/p.size) }

func (c *call) queryType(name string) (*answer, error) {
	typ, found := recordTypes()[name]
	if !found {
		return nil, badRequest("The query type %q does not exist.", name)
	}
	if !typ.open(c) {
		return nil, refuse(http.StatusForbidden, "ACCESS_TO_RESOURCE_IS_FORBIDDEN", "The query type %q is for administrators.", name)
	}
	format := or(c.query("format"), "records")
	if !slices.Contains(formats(name), format) {
		return nil, badRequest("The format %q is not supported.", format)
	}
	p, err := c.page()
	if err != nil {
		return nil, err
	}
	recs, err := c.selectRecords(typ)
	if err != nil {
		return nil, err
	}
	if p.number > p.last(len(recs)) {
		return nil, badRequest("The page %d does not exist: there are %d.", p.number, p.last(len(recs)))
	}
	from, to := p.of(len(recs))
	if err := c.loadRecords(recs[from:to], lag(recs, pageAge)); err != nil {
		return nil, err
	}
	d := c.queryResult(name, format, p, recs)
	if format == "references" {
		toReferences(d, refKind(name))
	}
	return ok(mediaVCloud+"query."+format, d), nil
}

// selectRecords lists, filters and sorts. What comes from vCenter is read here
// only where the filter or the order needs it.
func (c *call) selectRecords(typ recordType) ([]*record, error) {
	recs := typ.list(c)
	by, desc := c.query("sortAsc"), false
	if d := c.query("sortDesc"); d != "" {
		by, desc = d, true
	}
	raw := c.query("filter")
	for _, slow := range typ.slow {
		if by == slow || strings.Contains(raw, slow) {
			if err := c.loadRecords(recs, lag(recs, sightAge)); err != nil {
				return nil, err
			}
			break
		}
	}
	if raw != "" {
		match, err := parseFilter(raw, c.flag("filterEncoded"))
		if err != nil {
			return nil, err
		}
		var kept []*record
		for _, r := range recs {
			if match(c, r) {
				kept = append(kept, r)
			}
		}
		recs = kept
	}
	if by != "" {
		sortRecords(recs, by, desc)
	}
	return recs, nil
}

// A sortKey orders numbers by value and texts without regard to case.
type sortKey struct {
	number  float64
	numeric bool
	text    string
}

func sortKeyOf(s string) sortKey {
	k := sortKey{text: strings.ToLower(s)}
	// What begins with a letter is seldom a number, and the error costs more
	// than all the rest.
	if s != "" && (s[0] < 'A' || s[0] == 'I' || s[0] == 'i' || s[0] == 'N' || s[0] == 'n') {
		n, err := strconv.ParseFloat(s, 64)
		k.number, k.numeric = n, err == nil
	}
	return k
}

func (k sortKey) before(l sortKey) bool {
	if k.numeric && l.numeric {
		return k.number < l.number
	}
	return k.text < l.text
}

// sortRecords sorts by an attribute, which is worked out once for each.
func sortRecords(recs []*record, by string, desc bool) {
	type keyed struct {
		key sortKey
		rec *record
	}
	list := make([]keyed, len(recs))
	for i, r := range recs {
		v, _ := r.get(by)
		list[i] = keyed{sortKeyOf(v), r}
	}
	sortBy(list, func(a, b keyed) bool {
		if desc {
			a, b = b, a
		}
		return a.key.before(b.key)
	})
	for i := range list {
		recs[i] = list[i].rec
	}
}

// lag is how old what is shown of records may be: nothing at all where they
// are of few VMs, as much as age where they are of many.
func lag(recs []*record, age time.Duration) time.Duration {
	n := 0
	for _, r := range recs {
		if n += len(r.vms()); n > manyVMs {
			return age
		}
	}
	return 0
}

// loadRecords fills in what comes from vCenter, with one call for all VMs.
// With an age only VMs that nobody has seen yet are asked for; those that were
// seen longer ago than that are looked at afterwards.
func (c *call) loadRecords(recs []*record, age time.Duration) error {
	seen := map[*vm]bool{}
	var vms []*vm
	for _, r := range recs {
		if r.load == nil {
			continue
		}
		for _, m := range r.vms() {
			if !seen[m] {
				seen[m] = true
				vms = append(vms, m)
			}
		}
	}
	if age > 0 {
		vms = c.s.revisit(vms, age)
	}
	if len(vms) > 0 {
		if err := c.s.glance(c.r.Context(), vms...); err != nil {
			return err
		}
	}
	for _, r := range recs {
		if r.full().load != nil {
			r.load(r)
			r.load = nil
		}
	}
	return nil
}

func (r *record) vms() []*vm {
	if r.vm != nil {
		return []*vm{r.vm}
	}
	if r.vapp != nil {
		return r.vapp.vms
	}
	return nil
}

// queryResult is the document of one page.
func (c *call) queryResult(name, format string, p page, recs []*record) *node {
	total := len(recs)
	d := el("QueryResultRecords", "href", c.s.href("/api/query?"+c.r.URL.RawQuery), "type", mediaVCloud+"query."+format+"+xml",
		"name", name, "page", num(p.number), "pageSize", num(p.size), "total", num(total))
	at := func(rel string, n int) {
		add(d, link(rel, c.s.href(c.r.URL.Path+"?"+c.withPage(n, p.size)), mediaVCloud+"query."+format+"+xml"))
	}
	last := p.last(total)
	if p.number > 1 {
		at("firstPage", 1)
		at("previousPage", p.number-1)
	}
	if p.number < last {
		at("nextPage", p.number+1)
		at("lastPage", last)
	}
	from, to := p.of(total)
	if h := fault.From(c.r); h != nil {
		d.CreateAttr("total", num(total+h.Total))
		to = max(from, to-h.Drop)
	}
	want := c.query("fields")
	for _, r := range recs[from:to] {
		n := el(r.full().tag)
		for i := 0; i+1 < len(r.attrs); i += 2 {
			k, v := r.attrs[i], r.attrs[i+1]
			if v == "" || want != "" && k != "href" && !fieldWanted(want, k) {
				continue
			}
			if format == "idrecords" && k == "href" {
				continue
			}
			n.CreateAttr(k, v)
		}
		if strings.Contains(want, "metadata") {
			c.addMetadata(n, r)
		}
		add(d, n)
	}
	return d
}

func fieldWanted(fields, name string) bool {
	for f := range strings.SplitSeq(fields, ",") {
		if strings.TrimSpace(f) == name {
			return true
		}
	}
	return false
}

// addMetadata shows the metadata of a record that asked for it.
func (c *call) addMetadata(n *node, r *record) {
	href, _ := r.get("href")
	list := el("Metadata", "href", href+"/metadata", "type", mediaVCloud+"metadata+xml")
	some := false
	for _, e := range r.meta {
		if c.visible(e) {
			some = true
			add(list, add(el("MetadataEntry", "href", href+e.path(), "type", mediaVCloud+"metadata.value+xml"), domainNode(e), text("Key", e.key), typedNode(e)))
		}
	}
	if some {
		add(n, list)
	}
}

// withPage is the request's query string for another page.
func (c *call) withPage(n, size int) string {
	var parts []string
	for part := range strings.SplitSeq(c.r.URL.RawQuery, "&") {
		if k, _, _ := strings.Cut(part, "="); k != "page" && k != "pageSize" && part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(append(parts, "page="+num(n), "pageSize="+num(size)), "&")
}
