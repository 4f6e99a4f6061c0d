// Command generate writes the page of the package compat to the file that its argument names.
package main
