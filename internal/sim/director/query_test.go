package director_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/beevik/etree"

	"github.com/vappvault/vappvault/internal/sim/director"
)

// names are the names of a query's records, in order.
func names(e *etree.Element) []string {
	out := []string{}
	for _, r := range e.ChildElements() {
		if strings.HasSuffix(r.Tag, "Record") {
			out = append(out, r.SelectAttrValue("name", ""))
		}
	}
	return out
}

func TestQueryFilters(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	for _, name := range []string{"alpha", "alpha (2)", "beta, inc", "gamma;x"} {
		must(c.dir.AddVApp(director.VAppSpec{VDC: "vdc1", Name: name, Metadata: []director.MetadataSpec{
			{Key: "backup", Value: "daily"}, {Key: "n", Type: "Number", Value: fmt.Sprint(len(name))}}}))(t)
	}
	u := c.login(adminName)
	for _, tc := range []struct {
		name, filter string
		want         []string
	}{
		{"one name", "name==alpha", []string{"alpha"}},
		{"case counts", "name==ALPHA", []string{}},
		{"case does not count with a star", "name==ALP*", []string{"alpha", "alpha (2)"}},
		{"not", "name!=web-shop;name!=alpha*", []string{"beta, inc", "gamma;x"}},
		{"a bare semicolon is and", "name==alpha*;numberOfVMs==0", []string{"alpha", "alpha (2)"}},
		{"a comma is or", "name==alpha,name==web-shop", []string{"web-shop", "alpha"}},
		{"parentheses group", "(name==alpha,name==web-shop);numberOfVMs=gt=1", []string{"web-shop"}},
		{"a backslash before parentheses", `name==alpha%20\(2\)`, []string{"alpha (2)"}},
		{"a backslash before joints", `name==beta\,%20inc,name==gamma%5C%3Bx`, []string{"beta, inc", "gamma;x"}},
		{"a VDC by its address", "vdc==" + c.dir.URL().String() + "/api/vdc/" + c.vdc + ";name==alpha", []string{"alpha"}},
		{"a VDC by its id", "vdc==" + c.vdc + ";name==alpha", []string{"alpha"}},
		{"the id of a vApp", "id==urn:vcloud:vapp:" + c.shop, []string{"web-shop"}},
		{"metadata", "metadata:backup==STRING:daily;metadata:n==NUMBER:5", []string{"alpha"}},
		{"metadata of the system's domain", "metadata@SYSTEM:secret==STRING:x", []string{"web-shop"}},
		{"what comes from vCenter", "status==POWERED_OFF", []string{"web-shop"}},
		{"nothing", "name==nobody", []string{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := u.get("/api/query?type=adminVApp&pageSize=128&filter=" + tc.filter)
			if got := names(e); !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if got := e.SelectAttrValue("total", ""); got != fmt.Sprint(len(tc.want)) {
				t.Errorf("total: got %s, want %d", got, len(tc.want))
			}
		})
	}
	t.Run("values that are encoded twice", func(t *testing.T) {
		for _, name := range []string{"beta, inc", "gamma;x", "alpha (2)"} {
			q := url.Values{"type": {"adminVApp"}, "filterEncoded": {"true"}, "filter": {"name==" + url.QueryEscape(name)}}
			if got := names(u.get("/api/query?" + q.Encode())); !slices.Equal(got, []string{name}) {
				t.Errorf("%s: got %q", name, got)
			}
		}
	})
	for _, bad := range []string{"filter=name", "filter=(name==x", "filter=name==x)y", "filter=name==x%20(2)", "page=0", "pageSize=x", "page=9", "sortAsc=name&filter=;"} {
		if r := u.do(http.MethodGet, "/api/query?type=adminVApp&"+bad, "", ""); r.status != http.StatusBadRequest {
			t.Errorf("%s: got %d", bad, r.status)
		}
	}
	u.want(http.StatusBadRequest, http.MethodGet, "/api/query?type=horse", "", "")
}

func TestQueryPages(t *testing.T) {
	t.Parallel()
	c := newCloud(t, nil)
	for i := range 200 {
		must(c.dir.AddVApp(director.VAppSpec{VDC: "vdc1", Name: fmt.Sprintf("v%03d", i)}))(t)
	}
	u := c.login(adminName)
	var got []string
	next := c.dir.URL().String() + "/api/query?type=adminVApp&format=records&pageSize=1000&sortDesc=name&filter=name==v*;isBusy==false"
	for pages := 0; next != ""; pages++ {
		e := u.get(next)
		if n := e.SelectAttrValue("pageSize", ""); n != "128" {
			t.Fatalf("page size: got %s", n)
		}
		got = append(got, names(e)...)
		next = ""
		if l := e.FindElement("./Link[@rel='nextPage']"); l != nil {
			next = l.SelectAttrValue("href", "")
		}
		if pages > 5 {
			t.Fatal("no end")
		}
	}
	if len(got) != 200 || got[0] != "v199" || got[199] != "v000" {
		t.Errorf("got %d records, from %s to %s", len(got), got[0], got[len(got)-1])
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"name==x", "(a==b,c!=d);e=gt=1", "metadata:k==STRING:v", "((", "name==a(b)c;x==y"} {
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, s string, encoded bool) {
		// The law: no filter makes the parser panic or loop.
		director.ParseFilter(s, encoded)
	})
}
