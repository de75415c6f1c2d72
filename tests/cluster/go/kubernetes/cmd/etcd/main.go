// Command etcd is etcd's server, as upstream's main package starts it.
//
// Upstream's package is called "server", and a binary takes the name of its package.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
