create role pulsegate login createdb password 'pulsegate';
create database pulsegate owner pulsegate;
