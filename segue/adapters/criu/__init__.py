"""CRIU by way of crun: takes an application's processes out of one host and puts them into another."""
